// Package lastread finds out what gRPC read from a connection last, when gRPC reports that it lost the connection but
// not why: whether the peer closed it, reset it, or sent what gRPC did not accept. It looks at what the kernel and
// crypto/tls keep of that; it reads nothing from the connection.
package lastread

import (
	"crypto/tls"
	"net"
	"reflect"
	"syscall"
)

// Conn is a connection that can be looked at.
type Conn struct {
	// socket is nil where there is none, or where the kernel cannot be asked.
	socket socket
	// tls is nil where the connection is not one of crypto/tls.
	tls *tls.Conn
	// plain: gRPC reads from the socket, and nothing stands between.
	plain bool
}

// Of returns what can be looked at of a connection: conn is the one that gRPC reads from, which came out of the
// handshake, and raw the one that the dialer returned. It returns nil if that is nothing.
func Of(conn, raw net.Conn) *Conn {
	c := &Conn{socket: socketOf(raw), tls: tlsOf(conn)}
	if c.socket == nil && c.tls == nil {
		return nil
	}
	switch raw.(type) {
	case *net.TCPConn, *net.UnixConn:
		c.plain = conn == raw
	}
	return c
}

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
