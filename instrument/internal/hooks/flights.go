package hooks

import (
	"net"
	"reflect"
	"sync"
)

// flights are the transports whose RPCs may still end. They are in many parts, so that hooks of different transports hardly
// ever meet; a sync.Map would take thrice the memory.
type flights [64]struct {
	mu sync.Mutex
	// byAddr has them by the address that is their RPCs' peer.LocalAddr, and byConnector by the goroutine that connected
	// them.
	byAddr      map[net.Addr]*flight
	byConnector map[uint64]*flight
}

// board lets RPCs and losses find their transport.
func (all *flights) board(f *flight) {
	if identifies(f.local) {
		part := &all[partOf(f.local)]
		part.mu.Lock()
		if part.byAddr == nil {
			part.byAddr = map[net.Addr]*flight{}
		}
		part.byAddr[f.local] = f
		part.mu.Unlock()
	}
	part := &all[f.connector%uint64(len(all))]
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.byConnector == nil {
		part.byConnector = map[uint64]*flight{}
	}
	part.byConnector[f.connector] = f
}

// partOf spreads addresses, which are pointers to what takes 64 bytes or so.
func partOf(local net.Addr) int {
	return int(reflect.ValueOf(local).Pointer() >> 6 % uintptr(len(flights{})))
}

// connected returns the transport that one of the goroutines connected, or nil.
func (all *flights) connected(own, connector uint64) *flight {
	for _, number := range []uint64{connector, own} {
		part := &all[number%uint64(len(all))]
		part.mu.Lock()
		f := part.byConnector[number]
		part.mu.Unlock()
		if f != nil {
			return f
		}
	}
	return nil
}

// aboard returns the transport with the address, or nil.
func (all *flights) aboard(local net.Addr) *flight {
	if !identifies(local) {
		return nil
	}
	part := &all[partOf(local)]
	part.mu.Lock()
	defer part.mu.Unlock()
	return part.byAddr[local]
}

func (all *flights) leave(f *flight) {
	if identifies(f.local) {
		part := &all[partOf(f.local)]
		part.mu.Lock()
		delete(part.byAddr, f.local)
		part.mu.Unlock()
	}
	part := &all[f.connector%uint64(len(all))]
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.byConnector[f.connector] == f { // The goroutine may have connected another since.
		delete(part.byConnector, f.connector)
	}
}

func (all *flights) clear() {
	for i := range all {
		part := &all[i]
		part.mu.Lock()
		part.byAddr, part.byConnector = nil, nil
		part.mu.Unlock()
	}
}
