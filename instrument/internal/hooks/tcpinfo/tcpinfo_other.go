//go:build !linux

package tcpinfo

import (
	"net"

	"github.com/redial-dev/redial/instrument/event"
)

// Socket is a TCP connection that the kernel can be asked about.
type Socket struct{}

// Of returns nil: only Linux is asked.
func Of(net.Conn) *Socket { return nil }

// Info returns nil.
func (*Socket) Info() *event.TCP { return nil }

// HasUserTimeout reports that nothing is known.
func (*Socket) HasUserTimeout() (set, known bool) { return false, false }
