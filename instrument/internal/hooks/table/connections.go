package table

import (
	"net"
	"sync"
)

// Connections holds the pending connections: those whose handshake is done and whose begin gRPC did not report yet.
// Each belongs to an owner, a subchannel, which has one at most. gRPC reports the begin with the connection's addresses
// alone, but it does so in the goroutine that did the handshake.
type Connections[O comparable] struct {
	mu          sync.Mutex
	byOwner     map[O]*Connection[O]
	byLocalAddr map[net.Addr]*Connection[O]
	byGoroutine map[uint64]*Connection[O]
}

// Connection is a pending connection.
type Connection[O comparable] struct {
	Owner O
	// Key is what the connection is found by: its own address if no other connection can have that, and else the number of
	// the goroutine that did the handshake.
	Key Key
	// Raw is the connection before the handshake, and Secured the one after it.
	Raw, Secured net.Conn
}

// Add makes a connection pending, in place of its owner's last.
func (all *Connections[O]) Add(c *Connection[O]) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.remove(all.byOwner[c.Owner])
	if all.byOwner == nil {
		all.byOwner = map[O]*Connection[O]{}
		all.byLocalAddr = map[net.Addr]*Connection[O]{}
		all.byGoroutine = map[uint64]*Connection[O]{}
	}
	all.byOwner[c.Owner] = c
	if c.Key.LocalAddr != nil {
		all.byLocalAddr[c.Key.LocalAddr] = c
	}
	if c.Key.Goroutine != 0 {
		all.byGoroutine[c.Key.Goroutine] = c
	}
}

// Take removes the connection with the address, or of the goroutine, and returns it, or nil.
func (all *Connections[O]) Take(key Key) *Connection[O] {
	all.mu.Lock()
	defer all.mu.Unlock()
	c := all.find(key)
	all.remove(c)
	return c
}

func (all *Connections[O]) find(key Key) *Connection[O] {
	if identifies(key.LocalAddr) {
		if c := all.byLocalAddr[key.LocalAddr]; c != nil {
			return c
		}
	}
	return all.byGoroutine[key.Goroutine] // Zero is no key.
}

// Has reports whether a connection of an owner is pending.
func (all *Connections[O]) Has(owner O) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.byOwner[owner] != nil
}

// Remove forgets an owner's connection, which did not become a transport.
func (all *Connections[O]) Remove(owner O) {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.remove(all.byOwner[owner])
}

func (all *Connections[O]) remove(c *Connection[O]) {
	if c == nil {
		return
	}
	delete(all.byOwner, c.Owner)
	if all.byLocalAddr[c.Key.LocalAddr] == c {
		delete(all.byLocalAddr, c.Key.LocalAddr)
	}
	if all.byGoroutine[c.Key.Goroutine] == c {
		delete(all.byGoroutine, c.Key.Goroutine)
	}
}

// Clear forgets all connections.
func (all *Connections[O]) Clear() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.byOwner, all.byLocalAddr, all.byGoroutine = nil, nil, nil
}
