package hooks

import (
	"net"
	"reflect"
	"sync"
)

// conns finds the subchannel that a connection belongs to. gRPC tells of connections by their address alone, but it
// is the very net.Addr of the connection that came out of the handshake: two connections never share one, even if
// they share their text as those of unix sockets do.
type conns struct {
	// shaken are the connections whose handshake is done and of which gRPC did not tell yet: *subConn, and by net.Addr.
	shaken, byAddr sync.Map
}

// shaken is a connection whose handshake is done.
type shaken struct {
	local net.Addr
	raw   net.Conn
}

// shake tells that a handshake is done.
func (c *conns) shake(s *subConn, conn, raw net.Conn) {
	c.forget(s)
	local := conn.LocalAddr()
	s.shaken.Store(&shaken{local, raw})
	c.shaken.Store(s, nil)
	if identifies(local) {
		c.byAddr.Store(local, s)
	}
}

// identifies reports whether an address may be a key, and one that tells connections apart.
func identifies(a net.Addr) bool {
	return a != nil && reflect.TypeOf(a).Kind() == reflect.Pointer
}

// take returns the subchannel of a connection, and the raw connection below it.
func (c *conns) take(local net.Addr) (*subConn, net.Conn) {
	s := c.owner(local)
	if s == nil {
		return nil, nil
	}
	if conn := c.forget(s); conn != nil {
		return s, conn.raw
	}
	return s, nil
}

func (c *conns) owner(local net.Addr) *subConn {
	if identifies(local) {
		if s, ok := c.byAddr.Load(local); ok {
			return s.(*subConn)
		}
	}
	var fit []*subConn
	c.shaken.Range(func(key, _ any) bool {
		s := key.(*subConn)
		conn := s.shaken.Load()
		if conn != nil && conn.local != nil && local != nil && conn.local.String() == local.String() {
			fit = append(fit, s)
		}
		return true
	})
	if len(fit) != 1 {
		return nil
	}
	return fit[0]
}

// forget drops what is known of a subchannel's connection that did not become a transport, and returns it.
func (c *conns) forget(s *subConn) *shaken {
	conn := s.shaken.Swap(nil)
	if conn == nil {
		return nil
	}
	c.shaken.Delete(s)
	if identifies(conn.local) {
		c.byAddr.CompareAndDelete(conn.local, s)
	}
	return conn
}

func (c *conns) clear() {
	c.shaken.Clear()
	c.byAddr.Clear()
}
