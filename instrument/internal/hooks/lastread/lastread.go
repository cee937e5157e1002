// Package lastread finds out what gRPC read from a connection last, when gRPC reports that it lost the connection but
// not why: whether the peer closed it, reset it, or sent what gRPC did not accept. It looks at what the kernel and
// crypto/tls keep of that; it reads nothing from the connection.
package lastread

import (
	"crypto/tls"
	"net"
	"reflect"
	"syscall"

	"github.com/redial-dev/redial/instrument/internal/failure"
)

// Of returns what gRPC read last: conn is the connection that it reads from, which came out of the handshake, and raw
// the one that the dialer returned. It must be called by the goroutine that reads, before gRPC closes the connection.
// It is known unless crypto/tls is not as this package knows it.
func Of(conn, raw net.Conn) (read failure.LastRead, known bool) {
	if conn == nil || raw == nil {
		return failure.ReadUnknown, true
	}
	end, readUp := socketEndOf(raw)
	if c := tlsOf(conn); c != nil {
		if !tlsKnown() {
			return failure.ReadUnknown, false
		}
		return ofTLS(endOf(c), end), true
	}
	return ofSocket(conn, raw, end, readUp), true
}

func ofSocket(conn, raw net.Conn, end socketEnd, readUp bool) failure.LastRead {
	plain := false // gRPC reads from the socket, and nothing stands between.
	switch raw.(type) {
	case *net.TCPConn, *net.UnixConn:
		plain = conn == raw
	}
	switch {
	case end == socketRST:
		return failure.ReadReset
	case end == socketFIN && (readUp || !plain):
		return failure.ReadEOF
	case (end == socketFIN || end == socketOpen || end == socketRSTUnmet) && plain:
		return failure.ReadRejected
	}
	return failure.ReadUnknown
}

func ofTLS(end tlsEnd, socket socketEnd) failure.LastRead {
	switch end {
	case tlsBroken:
		return failure.ReadRejected
	case tlsOpen:
		if socket != socketUnknown {
			return failure.ReadRejected
		}
	case tlsEOF:
		if socket != socketRST && socket != socketUnknown { // A write may have met the RST first, and left an EOF.
			return failure.ReadEOF
		}
	}
	return failure.ReadUnknown
}

// socketEnd is how a peer ended a connection, as the kernel knows.
type socketEnd uint8

const (
	// socketUnknown: the kernel does not say.
	socketUnknown socketEnd = iota
	// socketNone: there is no socket that the kernel can be asked about.
	socketNone
	// socketOpen: neither of the two below.
	socketOpen
	// socketFIN: with a FIN, whatever followed.
	socketFIN
	// socketRST: with a RST, and no FIN before it.
	socketRST
	// socketRSTUnmet: likewise, and nobody has met the RST yet who read or wrote.
	socketRSTUnmet
)

func rawConn(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// tlsOf returns the connection of crypto/tls within the one that came out of a handshake, or nil. gRPC's own TLS
// credentials return a struct that embeds it as a net.Conn.
func tlsOf(conn net.Conn) *tls.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		return c
	}
	v := reflect.ValueOf(conn)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	embedded, ok := v.Elem().Type().FieldByName("Conn")
	if !ok || !embedded.Anonymous {
		return nil
	}
	c, _ := v.Elem().FieldByIndex(embedded.Index).Interface().(*tls.Conn)
	return c
}
