package lastread

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/redial-dev/redial/instrument/internal/failure"
)

// socket is what the kernel can be asked about.
type socket interface {
	// end returns how the peer ended the connection, and whether gRPC read up to that.
	end() (end socketEnd, readUp bool)
}

// socketEnd is how a peer ended a connection.
type socketEnd uint8

const (
	socketUnknown socketEnd = iota
	socketOpen
	socketFIN // Whatever followed.
	socketRST
)

// socketOf returns the socket of a connection of TCP, or of a unix socket, or nil.
func socketOf(conn net.Conn) socket {
	local := conn.LocalAddr()
	if local == nil {
		return nil
	}
	raw := rawConn(conn)
	if raw == nil {
		return nil
	}
	switch local.Network() {
	case "tcp":
		return tcpSocket{raw}
	case "unix":
		return unixSocket{raw}
	}
	return nil
}

// LastRead returns what gRPC read last. It must be called by the goroutine that reads, when gRPC gives no reason and
// the socket is not closed yet.
func (c *Conn) LastRead() failure.LastRead {
	end, readUp := socketUnknown, false
	if c.socket != nil {
		end, readUp = c.socket.end()
	}
	if c.tls != nil {
		switch endOf(c.tls) {
		case tlsOpen, tlsBroken:
			return failure.ReadRejected
		case tlsEOF: // Behind the EOF there may be a RST that a write had met first.
			if c.socket == nil || end == socketOpen || end == socketFIN {
				return failure.ReadEOF
			}
		}
		return failure.ReadUnknown
	}
	switch {
	case end == socketRST:
		return failure.ReadReset
	case end == socketFIN && (readUp || !c.plain):
		return failure.ReadEOF
	case end != socketUnknown && c.plain:
		return failure.ReadRejected
	}
	return failure.ReadUnknown
}

type tcpSocket struct{ raw syscall.RawConn }

// end implements [socket]. The state alone does not do: whether or not a FIN came before it, a socket is in CLOSE after
// a RST. TCP_INQ announces an end of the stream that is to be read, and that is only where there was a FIN.
func (s tcpSocket) end() (end socketEnd, readUp bool) {
	err := s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		unread, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MEMINFO) // Its first number: SK_MEMINFO_RMEM_ALLOC.
		if err != nil {
			return
		}
		readUp = unread == 0
		switch info.State {
		case unix.BPF_TCP_ESTABLISHED:
			if info.Notsent_bytes == 0 { // Otherwise gRPC may have given up a peer that does not read.
				end = socketOpen
			}
		case unix.BPF_TCP_CLOSE_WAIT:
			end = socketFIN
		case unix.BPF_TCP_CLOSE:
			end = closedBy(int(fd))
		}
	})
	if err != nil {
		return socketUnknown, false
	}
	return end, readUp
}

// closedBy returns how a socket in CLOSE came to be there.
func closedBy(fd int) socketEnd {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INQ, 1); err != nil {
		return socketUnknown
	}
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_PEEK|unix.MSG_DONTWAIT)
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

type unixSocket struct{ raw syscall.RawConn }

// end implements [socket]. A unix socket has no RST: where its peer left data unread, gRPC reads ECONNRESET.
func (s unixSocket) end() (end socketEnd, readUp bool) {
	err := s.raw.Control(func(fd uintptr) {
		unread, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		if err != nil {
			return
		}
		readUp = unread == 0
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if _, err := unix.Poll(poll, 0); err != nil {
			return
		}
		end = socketOpen
		if poll[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0 {
			end = socketFIN
		}
	})
	if err != nil {
		return socketUnknown, false
	}
	return end, readUp
}
