// Package hooks knows grpc-go: it wraps what grpc-go lets one wrap (load balancing policies, resolvers, credentials,
// pickers) and turns the callbacks into inputs of the lifecycle machine of each channel.
//
// Wrapped is only what belongs to a channel that an [Observer] observes, and nothing that a wrapper returns behaves
// otherwise than what it wraps: no net.Conn, SubConn, pick, address or credential is changed.
//
// The package must be initialised before google.golang.org/grpc (see package register) and hence must not import
// it, nor anything that package grpc does not import itself.
package hooks

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	estats "google.golang.org/grpc/experimental/stats"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// Config says where an [Observer]'s findings go. All functions may be called from any goroutine, under locks of
// gRPC: they must not block.
type Config struct {
	// Target maps the canonical target of a new channel to the one that is told.
	Target func(canonical string) string
	// Backoff returns the shortest wait that gRPC's backoff takes after so many failures in a row.
	Backoff func(failures int) time.Duration
	// Emit takes the events, those of one channel in order.
	Emit func(event.Event)
	// Refused is told of an RPC that fails for want of a READY subchannel, and Killed of one that died with its
	// transport, while the RPC's own span is still open.
	Refused func(event.RPCRefused)
	Killed  func(ctx context.Context, transport event.ID, cause event.Cause)
	// Overflow is told of an RPC that is not followed because too many wait already.
	Overflow func()
	// Sampled is told, each SampleEvery, what the socket of each transport did. Zero turns that off.
	Sampled     func(sample.TCP)
	SampleEvery time.Duration
	// Unattributed is told of a connection that belongs to no subchannel known.
	Unattributed func()
	// Fault takes redial's own errors.
	Fault func(error)
}

// Observer observes all the channels that were given one handler.
type Observer struct {
	cfg      Config
	machines lifecycle.Config
	closed   atomic.Bool

	mu       sync.Mutex
	channels map[any]*channel // By the channel's metrics recorder, which its balancers and resolvers share.
	sweepAt  int

	// dialing: somebody has the dialer that tells of each address, which finds its subchannel among the attributes of the
	// address. Without it addresses stay as they are.
	dialing atomic.Bool

	subConns sync.Map // balancer.SubConn -> *subConn

	conns   conns
	flights flights
	waits   waits
	sampler sampler
	// failing counts the policies in TRANSIENT_FAILURE: only there a wait-for-ready RPC differs from others.
	failing atomic.Int64
}

// firstSweep is the number of channels from which on those that were closed while idle are looked for.
const firstSweep = 64

// ids are unique in the process, so that events of several handlers can be told apart.
var ids atomic.Uint64

// NewObserver returns an observer of no channel yet.
func NewObserver(cfg Config) *Observer {
	o := &Observer{
		cfg: cfg, channels: map[any]*channel{}, sweepAt: firstSweep,
		machines: lifecycle.Config{
			NextID: func() event.ID { return event.ID(ids.Add(1)) }, Emit: cfg.Emit, Backoff: cfg.Backoff,
			// Under the channel's lock, which the handler of errors may want.
			Fault: func(err error) { go cfg.Fault(err) },
		},
		sampler: sampler{interval: cfg.SampleEvery, tell: cfg.Sampled},
	}
	o.sampler.recovered = o.recovered
	return o
}

// channel returns the record of the channel with this recorder and canonical target.
func (o *Observer) channel(recorder estats.MetricsRecorder, target string) *channel {
	o.mu.Lock()
	defer o.mu.Unlock()
	var key any = recorder
	if !reflect.TypeOf(recorder).Comparable() {
		key = target
	}
	if c, ok := o.channels[key]; ok {
		return c
	}
	o.sweep()
	c := &channel{observer: o, key: key}
	c.life = lifecycle.NewChannel(&o.machines, o.cfg.Target(target))
	o.channels[key] = c
	return c
}

// sweep forgets channels that were closed while they were idle, of which no callback tells. Its cost is spread over
// the channels that are made.
func (o *Observer) sweep() {
	if len(o.channels) < o.sweepAt {
		return
	}
	for _, c := range o.channels {
		c.do(func(time.Time) {})
		if c.finished() {
			delete(o.channels, c.key)
		}
	}
	o.sweepAt = 2*len(o.channels) + firstSweep
}

// Snapshot describes the channels that are open, by their ids.
func (o *Observer) Snapshot() []snapshot.Channel {
	channels := []snapshot.Channel{}
	for _, c := range o.all() {
		c.do(func(time.Time) {
			if !c.shutdown {
				channels = append(channels, c.life.Snapshot())
			}
		})
	}
	slices.SortFunc(channels, func(a, b snapshot.Channel) int { return cmp.Compare(a.ID, b.ID) })
	return channels
}

// Counts counts what there is now. The state of every channel is looked at, and told even if nothing else happens to it.
func (o *Observer) Counts() sample.ByTarget {
	now := sample.ByTarget{}
	for _, c := range o.all() {
		c.do(func(at time.Time) { c.life.Count(at, now.Of(c.life.Target())) })
		o.forgetIfFinished(c)
	}
	return now
}

func (o *Observer) all() []*channel {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]*channel, 0, len(o.channels))
	for _, c := range o.channels {
		all = append(all, c)
	}
	return all
}

func (o *Observer) forgetIfFinished(c *channel) {
	if !c.finished() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.channels, c.key)
}

// Close ends all that is open, as interrupted. The observer does nothing from then on.
func (o *Observer) Close() {
	if o.closed.Swap(true) {
		return
	}
	for _, c := range o.all() {
		c.interrupt()
	}
	o.waits.clear()
	o.conns.clear()
	o.flights.clear()
	o.sampler.clear()
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.channels)
}

// Closed reports whether the observer does nothing any more.
func (o *Observer) Closed() bool { return o.closed.Load() }

// recovered keeps a fault of redial's own from the observed client. It is deferred by every hook.
func (o *Observer) recovered() {
	if r := recover(); r != nil {
		trace := make([]byte, 16<<10) // Package runtime/debug may be initialised after package grpc.
		trace = trace[:runtime.Stack(trace, false)]
		o.cfg.Fault(fmt.Errorf("redial: internal fault, the observed client is not affected, please report it: %v\n%s", r, trace))
	}
}

// channel is the record of one ClientConn.
type channel struct {
	observer *Observer
	key      any

	mu   sync.Mutex // Guards what follows, and with it the order of times.
	life *lifecycle.Channel
	zed  channelz
	// held are the inputs that wait for the channel's id, which only balancers are told.
	held      []func()
	policies  []*policy // Oldest first.
	resolvers int
	shutdown  bool
}

// do runs an input on the channel's machine. What it tells of the channel's own state comes first: it is older.
func (c *channel) do(input func(at time.Time)) {
	if c.observer.closed.Load() {
		return
	}
	defer c.observer.recovered()
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now()
	c.poll(at)
	input(at)
}

// poll reads the channel's own state, of which there is no callback.
func (c *channel) poll(at time.Time) {
	state, ok := c.zed.state()
	if !ok {
		return
	}
	c.life.SetState(at, state)
	c.shutdown = state == event.StateShutdown
}

// identify tells the channel's channelz id, and releases what waited for it.
func (c *channel) identify(opts balancer.BuildOptions) {
	c.do(func(at time.Time) {
		if !c.zed.known() {
			c.zed = readChannelz(opts.ChannelzParent)
			c.life.Identify(c.zed.id)
			c.poll(at)
		}
		c.release()
	})
}

func (c *channel) release() {
	for _, input := range c.held {
		input()
	}
	c.held = nil
}

// hold runs an input of a resolver once the channel's id is known.
func (c *channel) hold(input func(at time.Time)) {
	c.do(func(at time.Time) {
		if c.zed.known() {
			input(at)
			return
		}
		c.held = append(c.held, func() { input(at) })
	})
}

func (c *channel) finished() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shutdown && c.resolvers == 0 && c.life.Done()
}

func (c *channel) interrupt() {
	defer c.observer.recovered()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release()
	c.life.Interrupt(time.Now())
}

// closePolicy ends a policy for the reason that the channel's state tells.
func (c *channel) closePolicy(at time.Time, p *lifecycle.Policy) {
	switch state, _ := c.zed.state(); state {
	case event.StateShutdown:
		p.Close(at, event.CauseChannelClosed)
	case event.StateIdle:
		p.Close(at, event.CauseIdleTimeout)
	default:
		p.CloseRemoved(at)
	}
}
