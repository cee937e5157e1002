package record

import (
	"sync"
	"time"

	"github.com/redial-dev/redial/instrument/internal/sample"
)

// shortestInterval is how long an interval is at least over which the RPCs of subchannels are compared: several readers
// may collect at once.
const shortestInterval = time.Second

// intervals divides time at the collections of metrics. Every reader's collection ends the interval and begins the
// next, unless it is too short: then the reader is shown the one before.
type intervals struct {
	mu      sync.Mutex
	begin   time.Time
	spreads map[string]sample.Spread // Of the newest interval that ended, by target.
}

// count counts, at an interval's end or within it, and adds the newest spreads.
func (i *intervals) count(at time.Time, count func(end bool) sample.ByTarget) sample.ByTarget {
	i.mu.Lock()
	defer i.mu.Unlock()
	end := at.Sub(i.begin) >= shortestInterval
	now := count(end)
	if end {
		i.begin, i.spreads = at, map[string]sample.Spread{}
		for target, of := range now {
			i.spreads[target] = of.Spread
		}
		return now
	}
	for target, of := range now {
		of.Spread = i.spreads[target]
	}
	return now
}
