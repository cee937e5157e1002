package instrument

import (
	"fmt"
	"sync"

	"github.com/redial-dev/redial/instrument/internal/ask"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/target"
)

// otherTarget stands for the targets that are not shown by name.
const otherTarget = "other"

// targets names targets in signals, and decides which of them are shown by name. A name is given for good, since its
// time series stay: of targets without end, so many are shown by name, and the rest as one.
type targets struct {
	rename func(target string) string // Nil stands for redial's own.
	keep   func(target string) bool   // Nil stands for all.
	limit  int                        // Zero stands for none.
	asker  *ask.Asker
	guard  *guard.Guard
	faults *report.Limiter

	mu    sync.Mutex
	named map[string]struct{}
}

// newTargets returns targets without a name yet.
func newTargets(c config, faults *report.Limiter) *targets {
	return &targets{
		rename: c.renameTarget, keep: c.keepTarget, limit: c.maxTargets, asker: c.asker,
		guard: guard.New("the target filter or rename panicked (its target is shown as other)", faults), faults: faults,
		named: map[string]struct{}{},
	}
}

// name returns what is shown of the canonical target of a new channel, and whether that is no name of its own since
// there are too many.
func (t *targets) name(canonical string) (name string, overflowed bool) {
	name, kept := t.decide(canonical)
	if !kept {
		return otherTarget, false
	}
	if !t.claim(name) {
		return otherTarget, true
	}
	return name, false
}

// nameOfDialed returns what is shown of a target as it was dialed, which is how gRPC's own metrics have it: the same as
// of the channel that dialed it.
func (t *targets) nameOfDialed(dialed string) string {
	first, show := "", false
	for i, canonical := range target.Canonical(dialed) {
		name, kept := t.decide(canonical)
		if t.has(name) {
			return name
		}
		if i == 0 {
			first, show = name, kept
		}
	}
	if !show || !t.claim(first) { // As many as channels, of which those are counted.
		return otherTarget
	}
	return first
}

func (t *targets) has(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.named[name]
	return ok
}

// claim gives a target its name, and reports whether there is one left.
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

var errSlow = fmt.Errorf("redial: the target filter or rename took longer than %v, so that its target is shown as other: "+
	"it must not block (see instrument.WithTargetFilter)", ask.Limit)

// decision is a target's name, and whether it is shown by that.
type decision struct {
	name string
	kept bool
}

// decide returns a target's name, and whether it is shown by that. The user's functions run in a goroutine of their
// own; a target on which they panic or block is not shown by name.
func (t *targets) decide(canonical string) (name string, kept bool) {
	if t.rename == nil && t.keep == nil {
		return target.Clean(target.Rename(canonical)), true
	}
	d, inTime := ask.For(t.asker, func() decision {
		return guard.Value(t.guard, decision{}, func() decision { return t.ask(canonical) })
	})
	if !inTime {
		t.faults.Report("target", errSlow)
	}
	return d.name, d.kept
}

func (t *targets) ask(canonical string) decision {
	rename := t.rename
	if rename == nil {
		rename = target.Rename
	}
	name := target.Clean(rename(canonical)) // Without what differs at each start, and without secrets.
	return decision{name, t.keep == nil || t.keep(name)}
}
