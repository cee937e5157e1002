package record

import (
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// roller rolls over, once a minute, what goes on for long in any channel. Its timer runs while anything goes on that
// may. Nothing waits for it.
type roller struct {
	roll    func() (pending bool)
	ticking atomic.Bool
}

const rollEvery = time.Minute

// start sets the timer, unless it is set.
func (r *roller) start() {
	if !r.ticking.Swap(true) {
		time.AfterFunc(rollEvery, r.run)
	}
}

func (r *roller) run() {
	r.ticking.Store(false)
	if r.roll() {
		r.start()
	}
}

// emit hands an event on. With the start of an episode something goes on that may go on for long.
func (o *Observer) emit(e event.Event) {
	if _, ok := e.(event.ConnectStarted); ok {
		o.roller.start()
	}
	o.cfg.Events.Emit(e)
}

func (o *Observer) rollOver() (pending bool) {
	for _, c := range o.all() {
		c.withLock(func(at time.Time) {
			if c.machine.RollOver(at) {
				pending = true
			}
		})
	}
	return pending
}
