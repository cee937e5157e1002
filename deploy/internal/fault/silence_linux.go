package fault

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Silence lets the kernel drop all that arrives for the listener and its connections, as a path does that lost
// packets for good: peers get no acknowledgement and no answer, and new connections time out. It needs no privilege:
// a socket may filter what it receives (SO_ATTACH_FILTER). The connections that are there when it ends go on.
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
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("silence a socket: %w", err)
	}
	var filtered error
	err = raw.Control(func(fd uintptr) {
		if !on {
			filtered = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			if errors.Is(filtered, unix.ENOENT) { // It was accepted after the others were silenced.
				filtered = nil
			}
			return
		}
		none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}} // Keep 0 bytes of each packet.
		filtered = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(none)), Filter: &none[0]})
	})
	if err := errors.Join(err, filtered); err != nil {
		return fmt.Errorf("silence a socket: %w", err)
	}
	return nil
}
