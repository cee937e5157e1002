package record

import (
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/internal/sample"
)

// Readers that collect within one interval are shown the same numbers, in place of what came in since the other asked.
func TestTwoReadersShareAnInterval(t *testing.T) {
	var i intervals
	start := time.Unix(1_000, 0)
	collect := func(after time.Duration, busiest int64) (shown sample.Spread, ended bool) {
		now := i.count(start.Add(after), func(end bool) sample.ByTarget {
			all := sample.ByTarget{}
			if ended = end; end {
				all.Of("a").Spread.See(busiest)
			}
			all.Of("a").RPCs = 7
			return all
		})
		return now.Of("a").Spread, ended
	}
	for _, want := range []struct {
		after   time.Duration
		rpcs    int64
		ended   bool
		busiest int64
	}{
		{0, 10, true, 10},
		{time.Millisecond, 1, false, 10},
		{shortestInterval - 1, 1, false, 10},
		{shortestInterval, 20, true, 20},
		{shortestInterval + time.Millisecond, 1, false, 20},
		{time.Minute, 30, true, 30},
	} {
		if shown, ended := collect(want.after, want.rpcs); shown.Busiest != want.busiest || ended != want.ended {
			t.Errorf("after %v: %+v, interval ended: %v; want %+v", want.after, shown, ended, want)
		}
	}
}
