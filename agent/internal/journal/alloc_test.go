//go:build !race

package journal

import (
	"runtime"
	"testing"

	"github.com/redial-dev/redial/instrument/event"
)

// To write an event allocates nothing, but for the next segment now and then.
func TestAllocations(t *testing.T) {
	j := New(DefaultSize)
	for name, e := range map[string]event.Event{
		"backoff": backoff(1, begin),
		"state": event.SubchannelState{
			Header: event.Header{Time: begin, Target: "t", Subchannel: 1},
			From:   event.StateIdle, To: event.StateConnecting,
		},
		"phase": event.PhaseEnded{
			Header: event.Header{Time: begin, Target: "t", Subchannel: 1}, Start: begin, Phase: event.PhaseSettings,
		},
		"transport": event.TransportEnded{
			Header: event.Header{Time: begin, Target: "t"}, Start: begin, Gone: begin, TCP: &event.TCP{State: "CLOSE"},
			Conn: event.Conn{Network: "tcp", Local: "127.0.0.1:1", Remote: "127.0.0.1:2"},
		},
	} {
		if n := testing.AllocsPerRun(1000, func() { j.Handle(sampled, e) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// However much is written, the journal takes no more memory than it says.
func TestMemory(t *testing.T) {
	const size = 16 << 20
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	j := New(size)
	for j.Stats().Overwritten < 4*size/typicalLine {
		for range 1000 {
			j.Handle(sampled, backoff(1, begin))
		}
	}
	taken := int(heap() - before)
	if limit := size + size/share; taken > limit {
		t.Errorf("the journal takes %d bytes, want at most %d", taken, limit)
	}
	if taken < size/2 {
		t.Errorf("the journal takes %d bytes only, which is no test of %d", taken, size)
	}
	runtime.KeepAlive(j)
}
