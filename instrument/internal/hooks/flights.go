package hooks

import (
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// flights are the transports whose RPCs may still end. They are in many parts, so that hooks of different transports hardly
// ever meet; a sync.Map would take thrice the memory.
type flights [64]flightsPart

type flightsPart struct {
	mu sync.Mutex
	// byAddr has them by the address that is their RPCs' peer.LocalAddr, and byConnector by the goroutine that connected
	// them.
	byAddr      map[net.Addr]*flight
	byConnector map[uint64]*flight
	// late is what is to be done a little later, oldest first. A timer is set while there is any.
	late []late
}

// late is something that is due at a time.
type late struct {
	due time.Time
	do  func()
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

// afterGrace does something for a transport that is gone, a little later. However many are gone, it takes no more
// goroutines than there are parts.
func (all *flights) afterGrace(f *flight, do func()) {
	part := &all[f.connector%uint64(len(all))]
	part.mu.Lock()
	defer part.mu.Unlock()
	part.late = append(part.late, late{time.Now().Add(lifecycle.Grace), do})
	if len(part.late) == 1 {
		time.AfterFunc(lifecycle.Grace, part.catchUp)
	}
}

// catchUp does what is due.
func (part *flightsPart) catchUp() {
	for _, l := range part.takeDue(time.Now()) {
		l.do()
	}
}

func (part *flightsPart) takeDue(now time.Time) (due []late) {
	part.mu.Lock()
	defer part.mu.Unlock()
	n := 0
	for n < len(part.late) && !part.late[n].due.After(now) {
		n++
	}
	due, part.late = part.late[:n], slices.Clone(part.late[n:])
	if len(part.late) > 0 {
		time.AfterFunc(part.late[0].due.Sub(now), part.catchUp)
	}
	return due
}

func (all *flights) clear() {
	for i := range all {
		part := &all[i]
		part.mu.Lock()
		part.byAddr, part.byConnector, part.late = nil, nil, nil
		part.mu.Unlock()
	}
}
