package record

import (
	"testing"
	"time"
)

// However many RPCs die of their deadlines, over however many transports, no more are looked at than the docs say.
func TestSuspectsAreBounded(t *testing.T) {
	now := time.Unix(1, 0)
	s := suspects{due: map[*Transport]time.Time{}} // As if the timer were set.
	one := &Transport{}
	for n := range 2 * maxTimedOut {
		if added := s.add(one, now, now); added != (n < maxTimedOut) {
			t.Fatalf("RPC %d of a second: looked at %t", n, added)
		}
	}
	for n := 1; n < 2*maxSuspects; n++ {
		now = now.Add(time.Second)
		if added := s.add(&Transport{}, now, now); added != (n < maxSuspects) {
			t.Fatalf("transport %d: suspected %t", n, added)
		}
	}
	if !s.add(one, now, now.Add(time.Second)) {
		t.Error("an RPC on a transport that is suspected is not looked at, since there are many others")
	}
}

// A transport that an RPC makes suspect again, while it is looked at, stays so.
func TestSuspectAgain(t *testing.T) {
	begin := time.Unix(1, 0)
	s, one := suspects{due: map[*Transport]time.Time{}}, &Transport{}
	s.add(one, begin, begin)
	s.postpone(one, begin.Add(time.Second))
	s.remove(one, begin)
	if len(s.due) != 1 {
		t.Error("it is suspected no more")
	}
	s.remove(one, begin.Add(time.Second))
	if len(s.due) != 0 {
		t.Error("it is still suspected")
	}
}
