//go:build !race

package journal

import (
	"testing"

	"github.com/redial-dev/redial/instrument/event"
)

// To write an event allocates nothing, but for the next segment now and then.
func TestAllocations(t *testing.T) {
	j := New(DefaultSize)
	for name, e := range map[string]event.Event{
		"backoff":   backoff(1, begin),
		"state":     event.SubchannelState{Head: event.Head{Time: begin, Target: "t", Subchannel: 1}, From: event.Idle, To: event.Connecting},
		"phase":     event.PhaseEnded{Head: event.Head{Time: begin, Target: "t", Subchannel: 1}, Start: begin, Phase: event.Settings},
		"transport": event.TransportEnded{Head: event.Head{Time: begin, Target: "t"}, Conn: event.Conn{Network: "tcp", Local: "127.0.0.1:1", Remote: "127.0.0.1:2"}, Start: begin, Gone: begin, TCP: &event.TCP{State: "CLOSE"}},
	} {
		if n := testing.AllocsPerRun(1000, func() { j.Handle(sampled, e) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
