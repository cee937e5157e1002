//go:build !linux

package lastread

import (
	"net"

	"github.com/redial-dev/redial/instrument/internal/failure"
)

// socket is what the kernel can be asked about.
type socket interface{}

// socketOf returns nil: only Linux is asked.
func socketOf(net.Conn) socket { return nil }

// LastRead returns what gRPC read last. It must be called by the goroutine that reads, when gRPC gives no reason and
// the socket is not closed yet.
func (c *Conn) LastRead() failure.LastRead {
	if c.tls != nil {
		switch endOf(c.tls) {
		case tlsOpen, tlsBroken:
			return failure.ReadRejected
		}
	}
	return failure.ReadUnknown
}
