//go:build !plan9

package failure

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
)

// errnoTypes gives the kernel's error numbers their types.
var errnoTypes = append([]errnoType{
	{syscall.ECONNREFUSED, ConnectionRefused},
	{syscall.ETIMEDOUT, Timeout},
	{syscall.EHOSTUNREACH, HostUnreachable},
	{syscall.ENETUNREACH, NetworkUnreachable},
	{syscall.ENETDOWN, NetworkUnreachable},
	{syscall.ECONNRESET, ConnectionReset},
	{syscall.EPIPE, ConnectionReset},
	{syscall.ECONNABORTED, ConnectionReset},
	{syscall.ENOENT, NoSuchFile},
	{syscall.ENOTDIR, NoSuchFile},
	{syscall.EACCES, PermissionDenied},
	{syscall.EPERM, PermissionDenied},
	{syscall.EADDRNOTAVAIL, AddressNotAvailable},
	{syscall.EADDRINUSE, AddressNotAvailable},
	{syscall.EAFNOSUPPORT, AddressFamilyNotSupported},
	{syscall.EPROTONOSUPPORT, AddressFamilyNotSupported},
	{syscall.EMFILE, ResourceExhausted},
	{syscall.ENFILE, ResourceExhausted},
	{syscall.ENOBUFS, ResourceExhausted},
	{syscall.ENOMEM, ResourceExhausted},
}, hostDown...)

// fromErrno classifies what the kernel returned.
func fromErrno(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case syscall.EAGAIN:
		return fromTryAgain(err)
	case syscall.EINVAL:
		return fromInvalidArgument(err)
	}
	for _, of := range errnoTypes {
		if of.errno == errno {
			return of.errorType
		}
	}
	return ""
}

// fromTryAgain classifies EAGAIN of connect(2): a unix socket's backlog is full; for others the kernel has no room for
// another route. It is no timeout, though the standard library says so of the number.
func fromTryAgain(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) && !strings.HasPrefix(op.Net, "unix") {
		return ResourceExhausted
	}
	return BacklogFull
}

// fromInvalidArgument classifies EINVAL of connect(2): the path of a unix socket is too long, or a link-local address
// lacks its zone. For other IP addresses no route leads there: it is a blackhole, or not for this source address. Of
// other calls it means anything.
func fromInvalidArgument(err error) string {
	if call := (*os.SyscallError)(nil); !errors.As(err, &call) || call.Syscall != "connect" {
		return ""
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		if to, ok := op.Addr.(*net.TCPAddr); ok && !to.IP.IsLinkLocalUnicast() {
			return NetworkUnreachable
		}
	}
	return InvalidAddress
}
