package loopback

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Deafen makes the kernel drop all that arrives for a connection: what it sends is not acknowledged, as on a path that
// lost packets for good. It needs no privilege: a socket may filter what it receives.
func Deafen(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}} // Keep 0 bytes of each packet.
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(none)), Filter: &none[0]})
	})
	if err := errors.Join(err, set); err != nil {
		t.Fatal(err)
	}
}
