package lastread

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// socketEndOf returns how the peer ended a connection of TCP, or of a unix socket, and whether gRPC read up to that.
func socketEndOf(conn net.Conn) (end socketEnd, readUp bool) {
	local, raw := conn.LocalAddr(), rawConn(conn)
	if local == nil || raw == nil {
		return socketNone, false
	}
	var ask func(fd int) (socketEnd, bool)
	switch local.(type) {
	case *net.TCPAddr:
		ask = tcpEnd
	case *net.UnixAddr:
		ask = unixEnd
	default:
		return socketNone, false
	}
	if err := raw.Control(func(fd uintptr) { end, readUp = ask(int(fd)) }); err != nil { // It is closed.
		return socketUnknown, false
	}
	return end, readUp
}

// tcpEnd goes by more than the state: whether or not a FIN came before it, a socket is in CLOSE after a RST. TCP_INQ
// announces an end of the stream that is to be read, and that is only where there was a FIN.
func tcpEnd(fd int) (end socketEnd, readUp bool) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return socketUnknown, false
	}
	// The first number of SO_MEMINFO is SK_MEMINFO_RMEM_ALLOC.
	unread, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO)
	if err != nil {
		return socketUnknown, false
	}
	switch info.State {
	case unix.BPF_TCP_ESTABLISHED:
		if info.Notsent_bytes == 0 { // Otherwise gRPC may have given up a peer that does not read.
			end = socketOpen
		}
	case unix.BPF_TCP_CLOSE_WAIT:
		end = socketFIN
	case unix.BPF_TCP_CLOSE:
		end = closedBy(fd)
	}
	return end, unread == 0
}

// closedBy returns how a socket in CLOSE came to be there.
func closedBy(fd int) socketEnd {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INQ, 1); err != nil {
		return socketUnknown
	}
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.ECONNRESET) {
		return socketRSTUnmet
	}
	if err != nil || n != 0 {
		return socketUnknown
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return socketUnknown
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_TCP && m.Header.Type == unix.TCP_CM_INQ && len(m.Data) > 0 {
			if m.Data[0] == 0 && m.Data[len(m.Data)-1] == 0 { // Whichever the byte order.
				return socketRST
			}
			return socketFIN
		}
	}
	return socketUnknown
}

// unixEnd finds out how the peer of a unix socket ended it. There is no RST: where the peer left data unread, gRPC
// reads ECONNRESET.
func unixEnd(fd int) (end socketEnd, readUp bool) {
	unread, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	if err != nil {
		return socketUnknown, false
	}
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if _, err := unix.Poll(poll, 0); err != nil {
		return socketUnknown, false
	}
	if poll[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0 {
		return socketFIN, unread == 0
	}
	return socketOpen, unread == 0
}
