//go:build !linux

package lastread

import "net"

// socketEndOf knows nothing: only Linux is asked.
func socketEndOf(net.Conn) (end socketEnd, readUp bool) { return socketNone, false }
