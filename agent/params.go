package agent

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/redial-dev/redial/instrument/event"
)

// params reads the parameters of a request, and notes what is wrong with them.
type params struct {
	values url.Values
	known  []string
	errs   []error
}

func (p *params) text(name string) string {
	p.known = append(p.known, name)
	all := p.values[name]
	if len(all) > 1 {
		p.errs = append(p.errs, fmt.Errorf("parameter %s: given %d times, want it once", name, len(all)))
	}
	return p.values.Get(name)
}

// number reads a whole number from 1, or from 0 where that is the default.
func (p *params) number(name string, otherwise, greatest uint64) uint64 {
	text := p.text(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if least := min(1, otherwise); err != nil || n < least || n > greatest {
		p.errs = append(p.errs,
			fmt.Errorf("parameter %s=%q: want a whole number from %d to %d", name, text, least, greatest))
	}
	return n
}

func (p *params) kind(name string) event.Kind {
	kind := event.Kind(p.text(name))
	if kind != "" && !slices.Contains(event.Kinds, kind) {
		p.errs = append(p.errs, fmt.Errorf("parameter %s=%q: want one of %v", name, kind, event.Kinds))
	}
	return kind
}

// err returns what is wrong, with the parameters that nothing reads.
func (p *params) err() error {
	for name := range p.values {
		if !slices.Contains(p.known, name) {
			p.errs = append(p.errs, fmt.Errorf("parameter %s: unknown, want one of %v", name, p.known))
		}
	}
	return errors.Join(p.errs...)
}
