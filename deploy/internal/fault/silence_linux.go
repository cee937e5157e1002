package fault

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Silence lets the kernel drop all that arrives for the listener and its connections, as a path does that lost
// packets for good: peers get no acknowledgement and no answer, and new connections time out. The connections that are
// there when it ends go on.
//
// It needs no privilege: a socket may refuse packets that came through too many routers (IP_MINTTL), and no packet that
// was sent with a TTL of 64, as Linux does, is good enough for one that wants 255. Filters of packets
// (SO_ATTACH_FILTER) are not for everybody on each kernel.
func (l *Listener) Silence(on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{silence(l.TCPListener, on)}
	for c := range l.conns {
		errs = append(errs, silence(c, on))
	}
	return errors.Join(errs...)
}

func silence(socket syscall.Conn, on bool) error {
	least := 0
	if on {
		least = 255
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("silence a socket: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MINTTL, least) })
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("silence a socket: %w", err)
	}
	return nil
}
