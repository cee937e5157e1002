package instrument

import "sync"

// maxTally bounds the counters that wait to be added to.
const maxTally = 4096

// tally takes counts out of the hooks: what is to be added to each counter is summed up, and added later.
type tally[K comparable] struct {
	later func(task func())
	add   func(counter K, n int64)

	mu      sync.Mutex
	pending map[K]int64
}

// newTally returns a tally that adds by add, in a task of later, of which it has one at a time. It has no count that is
// wrong: it is exact unless tasks are not done and there are more than maxTally counters.
func newTally[K comparable](later func(task func()), add func(counter K, n int64)) *tally[K] {
	return &tally[K]{later: later, add: add}
}

// Add counts. It never blocks.
func (t *tally[K]) Add(counter K, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pending == nil {
		t.pending = map[K]int64{}
		t.later(t.flush)
	}
	if _, ok := t.pending[counter]; ok || len(t.pending) < maxTally {
		t.pending[counter] += n
	}
}

// flush adds what was counted. Each counter is a task of its own, so that one that panics takes no other's count along.
func (t *tally[K]) flush() {
	t.mu.Lock()
	pending := t.pending
	t.pending = nil
	t.mu.Unlock()
	for counter, n := range pending {
		t.add(counter, n)
	}
}
