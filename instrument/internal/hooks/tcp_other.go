//go:build !linux

package hooks

import (
	"net"

	"github.com/redial-dev/redial/instrument/event"
)

// probeOf returns nil: only Linux is asked about a TCP connection.
func probeOf(net.Conn) func() *event.TCP { return nil }
