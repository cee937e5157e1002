package instrument

import (
	"fmt"
	"sync"

	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/target"
)

// otherTarget stands for the targets that are not shown by name.
const otherTarget = "other"

// targets names targets in signals, and decides which of them are shown by name. A name is given for good, since its
// time series stay: of targets without end, so many are shown by name, and the rest as one.
type targets struct {
	rename     func(target string) string
	keep       func(target string) bool
	limit      int // Zero stands for none.
	overflowed func()
	faults     *report.Limiter

	mu    sync.Mutex
	named map[string]struct{}
}

// newTargets returns targets without a name yet. overflowed is called for each target that is not shown by name since
// there are too many.
func newTargets(c config, overflowed func(), faults *report.Limiter) *targets {
	return &targets{
		rename: c.renameTarget, keep: c.keepTarget, limit: c.maxTargets, overflowed: overflowed, faults: faults,
		named: map[string]struct{}{},
	}
}

// name returns what is shown of the canonical target of a new channel.
func (t *targets) name(canonical string) string {
	name := t.renamed(canonical)
	if !t.kept(name) {
		return otherTarget
	}
	if !t.claim(name) {
		t.overflowed()
		return otherTarget
	}
	return name
}

// nameOfDialed returns what is shown of a target as it was dialed, which is how gRPC's own metrics have it: the same as
// of the channel that dialed it.
func (t *targets) nameOfDialed(dialed string) string {
	all := target.Canonical(dialed)
	for i, canonical := range all {
		if all[i] = t.renamed(canonical); t.has(all[i]) {
			return all[i]
		}
	}
	if len(all) == 0 || !t.kept(all[0]) || !t.claim(all[0]) { // As many as channels, of which those are counted.
		return otherTarget
	}
	return all[0]
}

func (t *targets) has(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.named[name]
	return ok
}

// claim reports whether the target has a name.
func (t *targets) claim(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.named[name]; ok {
		return true
	}
	if t.limit > 0 && len(t.named) >= t.limit {
		return false
	}
	t.named[name] = struct{}{}
	return true
}

// renamed returns the target's name: without what differs at each start, and without secrets. A target on which the
// user's function panics is other.
func (t *targets) renamed(canonical string) (name string) {
	defer t.recovered("rename", func() { name = otherTarget })
	return target.Clean(t.rename(canonical))
}

// kept asks the filter. A target on which that panics is not shown by name.
func (t *targets) kept(name string) (kept bool) {
	defer t.recovered("filter", func() { kept = false })
	return t.keep(name)
}

// recovered keeps a fault of a user's function from the channel.
func (t *targets) recovered(what string, otherwise func()) {
	if r := recover(); r != nil {
		otherwise()
		t.faults.Report(ofTarget, fmt.Errorf("redial: the target %s panicked: %v", what, r))
	}
}
