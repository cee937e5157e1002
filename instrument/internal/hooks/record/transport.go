package record

import (
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/lastread"
	"github.com/redial-dev/redial/instrument/internal/hooks/table"
	"github.com/redial-dev/redial/instrument/internal/hooks/tcpinfo"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// Transport is the record of one transport, and of the RPCs on it. The context of its connection carries it.
type Transport struct {
	owner  *Subchannel // Nil where it is not known whose the connection is.
	key    table.Key
	socket *tcpinfo.Socket // Nil where the kernel cannot be asked.
	// raw is the connection of the dialer, and secured what the handshake made of it.
	raw, secured net.Conn

	// What follows is set when the connection begins.

	channel *Channel
	machine *lifecycle.Transport // Nil if it did not begin.
	samples *samples             // Nil unless the socket is sampled.
	done    func(balancer.DoneInfo)
	// placed counts the RPCs that were ever placed on it, and inFlight those that are on it now.
	placed, inFlight atomic.Int64
	// unsent counts the RPCs for which gRPC made no stream. It is small: a transport takes memory as long as it lives.
	unsent  atomic.Uint32
	streams streams
	// leaving: the transport takes no new RPCs, and the last one's end completes its record.
	leaving atomic.Bool
	// forgotten: the transport is not found any more.
	forgotten atomic.Bool
	// undecided counts the RPCs that are done but for what [Observer.RPCEnded] finds out.
	undecided atomic.Int64
	// answered are the RPCs that the server answered while the transport was leaving, and that are not done.
	answered answeredRPCs
}

// NewTransport finds out whose a new connection is. It must be called by the goroutine that connected.
func (o *Observer) NewTransport(local net.Addr) *Transport {
	t := &Transport{key: table.Key{LocalAddr: local}}
	if g := grpcinternals.Current(); g.Place == grpcinternals.Connecting {
		t.key.Goroutine = g.Connector
	}
	if c := o.connections.Take(t.key); c != nil {
		t.owner, t.raw, t.secured, t.socket = c.Owner, c.Raw, c.Secured, tcpinfo.Of(c.Raw)
	}
	return t
}

// InFlight implements [lifecycle.RPCs].
func (t *Transport) InFlight() int64 { return t.inFlight.Load() }

// Sent implements [lifecycle.RPCs].
func (t *Transport) Sent() int64 { return t.placed.Load() - int64(t.unsent.Load()) }

// Begin records that the connection begins, if its subchannel is known.
func (o *Observer) Begin(t *Transport) {
	if o.holds(grpcinternals.Goroutines, t.key.Goroutine != 0) {
		o.soleOf(t)
	}
	s := t.owner
	if s == nil {
		o.cfg.Events.Unattributed()
		return
	}
	s.withLock(func(at time.Time) {
		t.channel, t.machine, t.done = s.policy.channel, s.machine.ConnBegin(at, t, t.socket != nil), t.rpcDone
		if o.sampler.interval > 0 {
			t.samples = &samples{target: t.channel.machine.Target()}
		}
		s.transport.Store(t)
	})
	if t.machine == nil {
		return
	}
	t.channel.untried.Store(true)
	o.transports.Add(t.key, t)
	o.sampler.add(t)
}

// soleOf makes a transport not found by the goroutine that connected it if the same one connected another that is still
// open: gRPC would not be as redial knows it, and the loss of one could be taken for that of the other.
func (o *Observer) soleOf(t *Transport) {
	other := o.transports.ByGoroutine(t.key.Goroutine)
	if o.holds(grpcinternals.Goroutines, other == nil || other.leaving.Load()) {
		return
	}
	o.transports.Remove(table.Key{Goroutine: t.key.Goroutine}, other)
	t.key.Goroutine = 0
}

// End records that the connection is closed.
func (t *Transport) End() {
	if t.machine == nil {
		return
	}
	var atLoss *event.TCP
	o := t.channel.observer
	t.channel.withLock(func(at time.Time) {
		// gRPC counts each loss before it closes the connection. Where it does not, nobody knows who ended this one.
		if t.machine.Reported() && !o.holds(grpcinternals.Disconnections, o.disconnected.Load()) {
			t.machine.Disconnected(at, failure.Loss{})
		}
		t.machine.ConnEnd(at)
		atLoss = t.machine.TCP()
	})
	o.sampler.remove(t, atLoss)
	t.settle()
}

// Lost records that gRPC lost a transport, and why in gRPC's own word, if redial knows that. It must be called by the
// goroutine in which gRPC reports that, while the socket is still open.
func (o *Observer) Lost(why string, known bool) {
	o.disconnected.Store(true)
	o.holds(grpcinternals.Disconnections, known)
	if why == failure.SubchannelShutdown { // The end of a policy or subchannel is reported, and of which.
		return
	}
	g := grpcinternals.Current()
	o.holds(grpcinternals.Goroutines, g.Place != grpcinternals.Nowhere || !known)
	t := o.transports.ByGoroutine(g.Connector)
	if t == nil { // Not of an observed subchannel, or taken down by this side.
		return
	}
	loss := failure.Loss{DisconnectError: why, ByKeepalive: g.Place == grpcinternals.Keepalive}
	if t.socket != nil {
		loss.TCP = t.socket.Info()
		loss.NeverPings = failure.MayBePings(why) && t.neverPings()
	}
	if g.Place == grpcinternals.Reader && why == failure.UnknownDisconnectError {
		read, known := lastread.Of(t.secured, t.raw)
		o.holds(grpcinternals.TLSErrors, known)
		loss.LastRead = read
	}
	t.channel.withLock(func(at time.Time) { t.machine.Disconnected(at, loss) })
	t.leave()
}

// neverPings reports whether gRPC's keepalive is off: it sets TCP_USER_TIMEOUT on each connection of package net that
// it may ping.
func (t *Transport) neverPings() bool {
	if _, ok := t.raw.(*net.TCPConn); !ok {
		return false
	}
	set, known := t.socket.HasUserTimeout()
	return known && !set
}

// sent records that an RPC that is followed has its stream, after it waited for one or at once.
func (t *Transport) sent(waited bool) {
	if waited {
		t.streams.waited(t.inFlight.Load())
	} else {
		t.streams.hadRoom(t.inFlight.Load())
	}
	t.streams.changed(t.channel, t.inFlight.Load())
}

// settle ends the record of a transport that is lost or gone: with its last RPC, or a little later.
func (t *Transport) settle() {
	t.leave()
	var leaving, ended bool
	t.channel.withLock(func(at time.Time) {
		t.machine.Check(at)
		leaving, ended = t.machine.Finishing(), t.machine.Ended()
	})
	o := t.channel.observer
	switch {
	case ended:
		// gRPC reports that an RPC is done first to its pick, which may complete the record, and then to the handler,
		// which still looks for the cause.
		o.delayed.Add(t.forget)
		o.forgetIfFinished(t.channel)
	case leaving:
		o.delayed.Add(t.settle)
	}
}

// leave marks that the transport takes no new RPCs.
func (t *Transport) leave() {
	if !t.leaving.Swap(true) {
		t.channel.observer.leaving.Add(1)
	}
}

// forget makes that the transport is not found any more.
func (t *Transport) forget() {
	o := t.channel.observer
	if o.transports.Remove(t.key, t); !t.forgotten.Swap(true) {
		o.leaving.Add(-1)
	}
}
