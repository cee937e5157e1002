package instrument

import "syscall"

// enableKeepalive is best effort, as in gRPC.
func enableKeepalive(fd uintptr) {
	_ = syscall.SetsockoptInt(syscall.Handle(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
}
