package record

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// Channel is the record of one ClientConn.
type Channel struct {
	observer *Observer
	key      any
	opening  sync.Once
	// unreadySince is since when the channel is awake and not READY, in Unix nanoseconds, or zero.
	unreadySince atomic.Int64
	// nearLimit counts the transports on which the next RPC may have to wait for a stream.
	nearLimit atomic.Int32
	// untried: no RPC had a stream at once since the newest transport began.
	untried atomic.Bool

	// What follows is guarded by mu, and with it the order of times. There are many channels: the fields are in the
	// order in which they take the least memory.

	resolvers int32
	mu        sync.Mutex
	opened    bool // It has or had a resolver or policy.
	shutdown  bool
	// resolved: it has or had a resolver that is wrapped, and is closed or idle when it has none. wasReady: its own state
	// was READY once.
	resolved, wasReady bool
	machine            *lifecycle.Channel // Nil until the channel is open.
	channelz           grpcinternals.Channelz
	// deferred are the inputs that wait for the channel's id, which gRPC gives to balancers alone.
	deferred []func()
	policies []*Policy // Oldest first.
}

// open makes the channel's machine. No lock is held meanwhile: the target is named by a filter that is not redial's
// own.
func (c *Channel) open(target resolver.Target) {
	c.opening.Do(func() {
		name, texts := c.observer.cfg.Target(target)
		machine := lifecycle.NewChannel(&c.observer.machines, name, texts)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.machine = machine
	})
}

// withLock runs an input on the channel's machine. What it reports of the channel's own state comes first: it is older.
func (c *Channel) withLock(input func(at time.Time)) {
	c.observer.guard.Run(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.machine == nil {
			return
		}
		at := time.Now()
		c.poll(at)
		input(at)
		c.noteUnready()
	})
}

// noteUnready notes whether RPCs that begin now may have to wait.
func (c *Channel) noteUnready() {
	awake := c.resolvers > 0 || len(c.policies) > 0
	_, known := c.channelz.State()
	unready := awake && known && !c.shutdown && c.machine.State() != event.StateReady
	if c.unready() == unready {
		return
	}
	if unready {
		c.unreadySince.Store(time.Now().UnixNano())
		c.observer.newestUnready.Store(c)
		c.observer.unready.Add(1)
	} else {
		c.unreadySince.Store(0)
		c.observer.newestUnready.CompareAndSwap(c, nil)
		c.observer.unready.Add(-1)
	}
}

// unready reports whether the channel is awake and not READY.
func (c *Channel) unready() bool { return c.unreadySince.Load() != 0 }

// poll reads the channel's own state, for which there is no callback.
func (c *Channel) poll(at time.Time) {
	state, known := c.channelz.State()
	if !known {
		return
	}
	c.machine.SetState(at, stateOf(state))
	c.shutdown = state == connectivity.Shutdown
	c.wasReady = c.wasReady || state == connectivity.Ready
}

// doubt gives up the channel's own state, which cannot be what gRPC stored last.
func (c *Channel) doubt() {
	c.observer.holds(grpcinternals.ChannelRecord, false)
	c.channelz = c.channelz.WithoutState()
}

// empty reports whether the channel has no resolver and no policy any more, though its own state is neither IDLE nor
// SHUTDOWN: so it is for a moment while gRPC closes them.
func (c *Channel) empty() bool {
	state, known := c.channelz.State()
	return c.resolved && c.resolvers == 0 && len(c.policies) == 0 && known && state != connectivity.Idle && !c.shutdown
}

// left records that the channel has a resolver or policy less.
func (c *Channel) left() {
	o, empty := c.observer, false
	c.withLock(func(time.Time) { empty = c.empty() })
	if empty {
		o.delayed.Add(c.doubtIfEmpty)
	}
	o.forgetIfFinished(c)
}

func (c *Channel) doubtIfEmpty() {
	c.withLock(func(time.Time) {
		if c.empty() {
			c.doubt()
		}
	})
	c.observer.forgetIfFinished(c)
}

// identify takes gRPC's own record of the channel, which must be known where it is given, and runs the inputs that
// waited for it. It reports whether the record is not that of another channel.
func (c *Channel) identify(z grpcinternals.Channelz, given bool) (ours bool) {
	c.observer.holds(grpcinternals.ChannelRecord, z.Known() || !given)
	ours = true
	c.withLock(func(at time.Time) {
		switch {
		case z.ID == 0 || z.ID == c.channelz.ID:
		case c.channelz.ID != 0:
			ours = false
		default:
			c.channelz = z
			c.machine.Identify(c.channelz.ID)
			c.poll(at)
			c.runDeferred()
		}
	})
	return c.observer.holds(grpcinternals.Recorders, ours)
}

// whenIdentified runs an input of a resolver once the channel's id is known.
func (c *Channel) whenIdentified(input func(at time.Time)) {
	c.withLock(func(at time.Time) {
		if c.channelz.ID != 0 {
			input(at)
			return
		}
		c.deferred = append(c.deferred, func() { input(at) })
	})
}

func (c *Channel) runDeferred() {
	for _, input := range c.deferred {
		input()
	}
	c.deferred = nil
}

// finished reports whether nothing more will happen to the channel. Where its state is not known that is so when it
// has no resolver and no policy: it is closed, or idle and its record begins anew when it wakes.
func (c *Channel) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.machine == nil || !c.opened || c.resolvers > 0 || !c.machine.Done() {
		return false
	}
	_, known := c.channelz.State()
	return c.shutdown || !known && len(c.policies) == 0
}

// sent returns how many RPCs were sent over the channel's transports to its target, if it was opened.
func (c *Channel) sent() (target string, rpcs int64, opened bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.machine == nil {
		return "", 0, false
	}
	return c.machine.Target(), c.machine.RPCs(), true
}

func (c *Channel) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.machine == nil {
		return
	}
	c.runDeferred()
	c.machine.Interrupt(time.Now())
}

// closePolicy ends a policy for the reason that the channel's state gives. A channel that was never READY, though its
// policy was, has another state than gRPC's record says.
func (c *Channel) closePolicy(at time.Time, p *lifecycle.Policy, wasReady bool) {
	state, known := c.channelz.State()
	if known && !c.shutdown && wasReady && !c.wasReady {
		c.doubt()
		known = false
	}
	switch {
	case !known:
		p.Close(at, event.CauseUnknown)
	case state == connectivity.Shutdown:
		p.Close(at, event.CauseChannelClosed)
	case state == connectivity.Idle:
		p.Close(at, event.CauseIdleTimeout)
	default:
		p.CloseRemoved(at)
	}
}

// stateOf names a connectivity state.
func stateOf(s connectivity.State) event.State {
	switch s {
	case connectivity.Idle:
		return event.StateIdle
	case connectivity.Connecting:
		return event.StateConnecting
	case connectivity.Ready:
		return event.StateReady
	case connectivity.TransientFailure:
		return event.StateTransientFailure
	default:
		return event.StateShutdown
	}
}
