package spans

import (
	"testing"
	"time"
)

// A quiet target has credit for ten seconds' worth of spans, then gets its rate, whatever others do.
func TestRateLimiter(t *testing.T) {
	l := newRateLimiter(2)
	at := time.Unix(1, 0)
	taken := func(target string, tries int) (n int) {
		for range tries {
			if l.take(target, at) {
				n++
			}
		}
		return n
	}
	if n := taken("a", 100); n != 20 {
		t.Errorf("%d spans at once, want 20", n)
	}
	if n := taken("b", 100); n != 20 {
		t.Errorf("%d spans of another target, want 20", n)
	}
	at = at.Add(3 * time.Second)
	if n := taken("a", 100); n != 6 {
		t.Errorf("%d spans after three seconds, want 6", n)
	}
	at = at.Add(-time.Second) // Events of several channels arrive a little out of order.
	if n := taken("a", 100); n != 0 {
		t.Errorf("%d spans when time runs back, want none", n)
	}
	at = at.Add(time.Hour)
	if n := taken("a", 100); n != 20 {
		t.Errorf("%d spans after an hour, want 20", n)
	}
}

// A rate below one in ten seconds makes a span now and then.
func TestLowRate(t *testing.T) {
	l, at, taken := newRateLimiter(0.01), time.Unix(1, 0), 0
	for range 1000 {
		if l.take("a", at) {
			taken++
		}
		at = at.Add(time.Second)
	}
	if taken != 10 {
		t.Errorf("%d spans in 1000 seconds at 0.01 a second, want 10", taken)
	}
}

func TestNoRateLimit(t *testing.T) {
	l := newRateLimiter(0)
	for range 10_000 {
		if !l.take("a", time.Unix(1, 0)) {
			t.Fatal("a span was left out")
		}
	}
}
