// Package table holds what hooks look up: the transport of an RPC or of a loss, the subchannel of a new connection,
// the RPCs that wait for a pick, and what is due a little later. The tables know nothing of what they hold, and are
// safe for concurrent use.
package table

import (
	"net"
	"reflect"
	"slices"
	"sync"
)

// Transports holds the transports whose RPCs may still end. It is in many parts, so that hooks of different transports
// hardly ever meet; a sync.Map would take three times the memory.
type Transports[T comparable] [64]transportsPart[T]

type transportsPart[T comparable] struct {
	mu          sync.Mutex
	byLocalAddr map[net.Addr]T
	byGoroutine map[uint64]T
	// sharing has the transports of which several have one address, as those of multiplexed sessions may.
	sharing map[net.Addr][]T
}

// Key is what a connection or its transport is found by.
type Key struct {
	// LocalAddr is the very net.Addr of the connection, which its RPCs have as their peer.LocalAddr. It may be nil.
	LocalAddr net.Addr
	// Goroutine is the number of the goroutine that connected; zero if it is not known.
	Goroutine uint64
}

// Add makes a transport found by its key.
func (all *Transports[T]) Add(key Key, transport T) {
	if identifies(key.LocalAddr) {
		all.ofAddr(key.LocalAddr).addAddr(key.LocalAddr, transport)
	}
	if key.Goroutine != 0 {
		part := all.ofGoroutine(key.Goroutine)
		part.mu.Lock()
		defer part.mu.Unlock()
		if part.byGoroutine == nil {
			part.byGoroutine = map[uint64]T{}
		}
		part.byGoroutine[key.Goroutine] = transport
	}
}

func (part *transportsPart[T]) addAddr(local net.Addr, transport T) {
	part.mu.Lock()
	defer part.mu.Unlock()
	if other, taken := part.byLocalAddr[local]; taken {
		delete(part.byLocalAddr, local)
		part.share(local, other)
	}
	if _, shared := part.sharing[local]; shared {
		part.share(local, transport)
		return
	}
	if part.byLocalAddr == nil {
		part.byLocalAddr = map[net.Addr]T{}
	}
	part.byLocalAddr[local] = transport
}

func (part *transportsPart[T]) share(local net.Addr, transport T) {
	if part.sharing == nil {
		part.sharing = map[net.Addr][]T{}
	}
	part.sharing[local] = append(part.sharing[local], transport)
}

// ByGoroutine returns the transport that the goroutine connected, or the zero value.
func (all *Transports[T]) ByGoroutine(number uint64) (transport T) {
	if number == 0 {
		return transport
	}
	part := all.ofGoroutine(number)
	part.mu.Lock()
	defer part.mu.Unlock()
	return part.byGoroutine[number]
}

// ByLocalAddr returns the only transport with the address, or the zero value.
func (all *Transports[T]) ByLocalAddr(local net.Addr) (transport T) {
	if !identifies(local) {
		return transport
	}
	part := all.ofAddr(local)
	part.mu.Lock()
	defer part.mu.Unlock()
	return part.byLocalAddr[local]
}

// Remove forgets a transport.
func (all *Transports[T]) Remove(key Key, transport T) {
	if identifies(key.LocalAddr) {
		all.ofAddr(key.LocalAddr).removeAddr(key.LocalAddr, transport)
	}
	if key.Goroutine != 0 {
		part := all.ofGoroutine(key.Goroutine)
		part.mu.Lock()
		defer part.mu.Unlock()
		if part.byGoroutine[key.Goroutine] == transport { // The goroutine may have connected another since.
			delete(part.byGoroutine, key.Goroutine)
		}
	}
}

func (part *transportsPart[T]) removeAddr(local net.Addr, transport T) {
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.byLocalAddr[local] == transport {
		delete(part.byLocalAddr, local)
	}
	shared, ok := part.sharing[local]
	if !ok {
		return
	}
	shared = slices.DeleteFunc(shared, func(other T) bool { return other == transport })
	if len(shared) == 0 {
		delete(part.sharing, local)
		return
	}
	part.sharing[local] = shared
}

// Clear forgets all transports.
func (all *Transports[T]) Clear() {
	for i := range all {
		part := &all[i]
		part.mu.Lock()
		part.byLocalAddr, part.byGoroutine, part.sharing = nil, nil, nil
		part.mu.Unlock()
	}
}

// ofAddr spreads addresses, which are pointers to what takes 64 bytes or so.
func (all *Transports[T]) ofAddr(local net.Addr) *transportsPart[T] {
	return &all[reflect.ValueOf(local).Pointer()>>6%uintptr(len(all))]
}

func (all *Transports[T]) ofGoroutine(number uint64) *transportsPart[T] {
	return &all[number%uint64(len(all))]
}

// identifies reports whether an address can distinguish connections: it is the connection's own object. The text of an
// address may be that of many connections, as with unix sockets.
func identifies(a net.Addr) bool {
	return a != nil && reflect.TypeOf(a).Kind() == reflect.Pointer
}
