package instrument

import (
	"fmt"
	"sync"

	"go.opentelemetry.io/otel"
)

// otherTarget is what is told of targets that are not told by name.
const otherTarget = "other"

// targets decides which targets are told by name. A name is given for good, since its time series stay: whoever dials
// targets without end has so many of them by name, and the rest as one.
type targets struct {
	keep func(target string) bool
	most int // Zero stands for no limit.

	mu    sync.Mutex
	named map[string]struct{}
}

func newTargets(c config) *targets {
	return &targets{keep: c.keepTarget, most: c.maxTargets, named: map[string]struct{}{}}
}

// name returns what is told of a target, and whether there are too many to tell its name.
func (t *targets) name(target string) (name string, overflow bool) {
	if !t.kept(target) {
		return otherTarget, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.named[target]; ok {
		return target, false
	}
	if t.most > 0 && len(t.named) >= t.most {
		return otherTarget, true
	}
	t.named[target] = struct{}{}
	return target, false
}

// kept asks the filter. A target on which that panics is not told by name.
func (t *targets) kept(target string) (kept bool) {
	defer func() {
		if r := recover(); r != nil {
			otel.Handle(fmt.Errorf("redial: the target filter panicked on %q: %v", target, r))
		}
	}()
	return t.keep(target)
}
