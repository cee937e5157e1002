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
	mu      sync.Mutex
	waiting map[*subConn]shaken
	byAddr  map[net.Addr]*subConn
	// flights are the transports whose RPCs may still end, by the address that is their RPCs' peer.LocalAddr, and
	// byConnector by the goroutine that connected them.
	flights     map[net.Addr]*flight
	byConnector map[uint64]*flight
}

// shaken is a connection whose handshake is done and of which gRPC did not tell yet.
type shaken struct {
	local net.Addr
	raw   net.Conn
}

// shake tells that a handshake is done.
func (c *conns) shake(s *subConn, conn, raw net.Conn) {
	c.forget(s)
	local := conn.LocalAddr()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		c.waiting, c.byAddr = map[*subConn]shaken{}, map[net.Addr]*subConn{}
	}
	c.waiting[s] = shaken{local, raw}
	if identifies(local) {
		c.byAddr[local] = s
	}
}

// identifies reports whether an address may be a key, and one that tells connections apart.
func identifies(a net.Addr) bool {
	return a != nil && reflect.TypeOf(a).Kind() == reflect.Pointer
}

// take returns the subchannel of a connection, and the raw connection below it.
func (c *conns) take(local net.Addr) (*subConn, net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.owner(local)
	raw := c.waiting[s].raw
	c.drop(s)
	return s, raw
}

func (c *conns) owner(local net.Addr) *subConn {
	if identifies(local) {
		if s, ok := c.byAddr[local]; ok {
			return s
		}
	}
	var only *subConn
	for s, w := range c.waiting {
		if w.local == nil || local == nil || w.local.String() != local.String() {
			continue
		}
		if only != nil {
			return nil
		}
		only = s
	}
	return only
}

// forget drops what is known of a subchannel's connection that did not become a transport.
func (c *conns) forget(s *subConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(s)
}

func (c *conns) drop(s *subConn) {
	w, ok := c.waiting[s]
	if !ok {
		return
	}
	delete(c.waiting, s)
	if identifies(w.local) && c.byAddr[w.local] == s {
		delete(c.byAddr, w.local)
	}
}

// board lets RPCs and losses find their transport.
func (c *conns) board(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights == nil {
		c.flights, c.byConnector = map[net.Addr]*flight{}, map[uint64]*flight{}
	}
	if identifies(f.local) {
		c.flights[f.local] = f
	}
	c.byConnector[f.connector] = f
}

// connected returns the transport that one of the goroutines connected.
func (c *conns) connected(own, connector uint64) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.byConnector[connector]; ok {
		return f
	}
	return c.byConnector[own]
}

func (c *conns) aboard(local net.Addr) *flight {
	if !identifies(local) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flights[local]
}

func (c *conns) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if identifies(f.local) {
		delete(c.flights, f.local)
	}
	if c.byConnector[f.connector] == f {
		delete(c.byConnector, f.connector)
	}
}

func (c *conns) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.waiting)
	clear(c.byAddr)
	clear(c.flights)
	clear(c.byConnector)
}
