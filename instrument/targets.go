package instrument

import (
	"fmt"
	"sync"

	"go.opentelemetry.io/otel"
)

// otherTarget stands for the targets that are not shown by name.
const otherTarget = "other"

// targets decides which targets are shown by name. A name is given for good, since its time series stay: of targets
// without end, so many are shown by name, and the rest as one.
type targets struct {
	keep       func(target string) bool
	limit      int // Zero stands for none.
	overflowed func()

	mu    sync.Mutex
	named map[string]struct{}
}

// newTargets returns targets without a name yet. overflowed is called for each target that is not shown by name since
// there are too many.
func newTargets(c config, overflowed func()) *targets {
	return &targets{keep: c.keepTarget, limit: c.maxTargets, overflowed: overflowed, named: map[string]struct{}{}}
}

// name returns what is shown of a target.
func (t *targets) name(target string) string {
	if !t.kept(target) {
		return otherTarget
	}
	if !t.claim(target) {
		t.overflowed()
		return otherTarget
	}
	return target
}

// claim reports whether the target has a name.
func (t *targets) claim(target string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.named[target]; ok {
		return true
	}
	if t.limit > 0 && len(t.named) >= t.limit {
		return false
	}
	t.named[target] = struct{}{}
	return true
}

// kept asks the filter. A target on which that panics is not shown by name.
func (t *targets) kept(target string) (kept bool) {
	defer func() {
		if r := recover(); r != nil {
			otel.Handle(fmt.Errorf("redial: the target filter panicked on %q: %v", target, r))
		}
	}()
	return t.keep(target)
}
