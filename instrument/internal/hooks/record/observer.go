// Package record keeps what redial knows of each channel that it observes: its policies, subchannels, transports,
// name resolvers and pending picks. A record turns what the wrappers of package hooks see into inputs of the
// channel's lifecycle machine. It knows nothing of the wrappers.
package record

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/ask"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/table"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/instrument/snapshot"
	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/text"
)

// Events takes what is found out. Its methods are called from any goroutine, under locks of gRPC: they must not block.
type Events interface {
	// Emit takes an event. Those of one channel come in order.
	Emit(event.Event)
	// Sampled takes what the socket of a transport did since its last sample.
	Sampled(sample.TCP)
	// Unattributed takes a connection that belongs to no subchannel known.
	Unattributed()
	// PickOverflowed takes an RPC that is not followed since too many wait already.
	PickOverflowed()
	// InternalsFailed takes a fact about gRPC or Go that did not hold.
	InternalsFailed(grpcinternals.Fact)
}

// Notes takes what is noted on an RPC's own span, while that is open.
type Notes interface {
	// Refused takes an RPC that fails for want of a READY subchannel.
	Refused(event.RPCRefused)
	// Killed takes an RPC that died with its transport.
	Killed(ctx context.Context, transport event.ID, cause event.Cause)
	// TimedOut takes an RPC that got no answer until its deadline, and what the kernel knew then of its transport's path.
	TimedOut(ctx context.Context, transport event.ID, path failure.Path, tcp *event.TCP)
}

// Config says how an [Observer] observes, and where its findings go.
type Config struct {
	// Target returns the name of a new channel's target in signals, and what cleans the channel's other texts.
	Target func(resolver.Target) (name string, texts text.Cleaner)
	// Backoff returns the shortest wait that gRPC's backoff takes after so many failures in a row.
	Backoff func(failures int) time.Duration
	// BackoffKnown: it is that of the channels, and not a guess.
	BackoffKnown bool
	// SampleEvery is how often the socket of each transport is sampled. Zero turns that off.
	SampleEvery time.Duration
	Events      Events
	Notes       Notes
	// Asker calls the addresses of connections that are not of package net.
	Asker *ask.Asker
	// Faults takes redial's own errors. Its handler must not block.
	Faults *report.Limiter
}

// Observer observes all the channels that were given one handler.
type Observer struct {
	cfg   Config
	guard *guard.Guard
	// addresses is what addresses of others are called in.
	addresses *guard.Guard
	machines  lifecycle.Config

	mu       sync.Mutex
	channels map[any]*Channel // By the channel's metrics recorder, which its balancers and resolvers share.
	sweepAt  int
	// sent counts the RPCs of the channels that are forgotten, by target.
	sent map[string]int64

	counting intervals

	subchannels sync.Map // balancer.SubConn -> *Subchannel
	connections table.Connections[*Subchannel]
	transports  table.Transports[*Transport]
	picks       table.Picks[pendingPick]
	delayed     *table.Delayed
	sampler     sampler
	roller      roller
	suspects    suspects
	rpcs        rpcs
	followed    followed
	// unready counts the channels that are awake and not READY.
	unready atomic.Int64
	// newestUnready is the channel that became unready last.
	newestUnready atomic.Pointer[Channel]
	// intercepted: an interceptor is in use.
	intercepted atomic.Bool
	// disconnected: gRPC counted the loss of a transport.
	disconnected atomic.Bool
	// leaving counts the transports that take no new RPCs: only there an answer to an RPC is worth to be noted.
	leaving atomic.Int64
	// dialing: a dialer that reports each address is in use. It finds its subchannel among the attributes of the address.
	dialing atomic.Bool
}

// firstSweep is the number of channels from which on those that were closed while idle are looked for.
const firstSweep = 64

// ids are unique in the process, so that events of several handlers can be distinguished.
var ids atomic.Uint64

// hookPanicked begins the report of a panic in a hook.
const hookPanicked = "internal fault, the observed client is not affected, please report it"

// New returns an observer of no channel yet.
func New(cfg Config) *Observer {
	observed.Store(true)
	o := &Observer{
		cfg: cfg, guard: guard.New(hookPanicked, cfg.Faults),
		addresses: guard.New("an address of a connection panicked in Network or String (it is not known)", cfg.Faults),
		channels:  map[any]*Channel{}, sweepAt: firstSweep,
		sent: map[string]int64{},
		machines: lifecycle.Config{
			NextID:  func() event.ID { return event.ID(ids.Add(1)) },
			Backoff: cfg.Backoff, BackoffKnown: cfg.BackoffKnown,
			Fault: func(err error) { cfg.Faults.Report("lifecycle", err) },
		},
	}
	o.machines.Emit, o.roller.roll = o.emit, o.rollOver
	o.delayed = table.NewDelayed(lifecycle.Grace, o.guard.Run)
	o.suspects.guard = o.guard
	o.sampler = sampler{interval: cfg.SampleEvery, guard: o.guard, sampled: cfg.Events.Sampled}
	return o
}

// Guard returns what every hook runs in. It is closed with the observer.
func (o *Observer) Guard() *guard.Guard { return o.guard }

// holds reports whether a fact held, and where it did not, that it failed.
func (o *Observer) holds(fact grpcinternals.Fact, held bool) bool {
	if !held {
		o.cfg.Events.InternalsFailed(fact)
	}
	return held
}

// channel returns the record of the channel with this recorder and target.
func (o *Observer) channel(recorder estats.MetricsRecorder, target resolver.Target) *Channel {
	var key any = recorder
	if !reflect.TypeOf(recorder).Comparable() {
		key = target.String()
	}
	c := o.withKey(key)
	c.open(target)
	return c
}

func (o *Observer) withKey(key any) *Channel {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c, ok := o.channels[key]; ok {
		return c
	}
	o.sweep()
	c := &Channel{observer: o, key: key}
	o.channels[key] = c
	return c
}

// sweep forgets channels that were closed while they were idle, which no callback reports. Its cost is spread over the
// channels that are made.
func (o *Observer) sweep() {
	if len(o.channels) < o.sweepAt {
		return
	}
	for _, c := range o.channels {
		c.withLock(func(time.Time) {})
		if c.finished() {
			o.forget(c)
		}
	}
	o.sweepAt = 2*len(o.channels) + firstSweep
}

// Snapshot describes the channels that are open, by their ids.
func (o *Observer) Snapshot() []snapshot.Channel {
	channels := []snapshot.Channel{}
	for _, c := range o.all() {
		c.withLock(func(time.Time) {
			if !c.shutdown {
				channels = append(channels, c.machine.Snapshot())
			}
		})
		o.forgetIfFinished(c)
	}
	slices.SortFunc(channels, func(a, b snapshot.Channel) int { return cmp.Compare(a.ID, b.ID) })
	return channels
}

// Counts counts what there is now. The state of every channel is looked at, and reported even if nothing else happens
// to the channel.
func (o *Observer) Counts() sample.ByTarget {
	return o.counting.count(time.Now(), func(interval bool) sample.ByTarget {
		now := sample.ByTarget{}
		for _, c := range o.allWithForgotten(now) {
			c.withLock(func(at time.Time) { c.machine.Count(at, interval, now.Of(c.machine.Target())) })
			o.forgetIfFinished(c)
		}
		return now
	})
}

func (o *Observer) all() []*Channel {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Values(o.channels))
}

// allWithForgotten is all, and adds what was sent by the channels that are none of them any more.
func (o *Observer) allWithForgotten(to sample.ByTarget) []*Channel {
	o.mu.Lock()
	defer o.mu.Unlock()
	for target, sent := range o.sent {
		to.Of(target).RPCs = sent
	}
	return slices.Collect(maps.Values(o.channels))
}

func (o *Observer) forgetIfFinished(c *Channel) {
	if !c.finished() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(c)
}

// forget forgets a channel that is finished, but not what it sent.
func (o *Observer) forget(c *Channel) {
	if o.channels[c.key] == c {
		delete(o.channels, c.key)
		if target, rpcs, opened := c.sent(); opened {
			o.sent[target] += rpcs
		}
	}
}

// Close ends all that is open, as interrupted. The observer does nothing from then on.
func (o *Observer) Close() {
	o.rpcs.flush()
	if !o.guard.Close() {
		return
	}
	last := guard.New(hookPanicked, o.cfg.Faults)
	for _, c := range o.all() {
		last.Run(c.interrupt)
	}
	o.picks.Clear()
	o.connections.Clear()
	o.transports.Clear()
	o.delayed.Clear()
	o.sampler.clear()
	o.suspects.clear()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.channels {
		o.forget(c)
	}
}

// ExpectDials makes that addresses carry their subchannel's record to dialers.
func (o *Observer) ExpectDials() { o.dialing.Store(true) }

// DialsExpected reports whether a dialer looks for the subchannel's record. Otherwise addresses stay as they are.
func (o *Observer) DialsExpected() bool { return o.dialing.Load() }
