package loopback

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Deafen makes the kernel drop all that arrives for a connection: what it sends is not acknowledged, as on a path that
// lost packets for good. It needs no privilege: a socket may refuse
// packets with a lower TTL, and those of Linux have 64.
func Deafen(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MINTTL, 255)
	})
	if err := errors.Join(err, set); err != nil {
		t.Fatal(err)
	}
}
