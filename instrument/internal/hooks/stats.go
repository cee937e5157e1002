package hooks

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

type connKey struct{ observer *Observer }

// TagConn finds out whose the connection is.
func (o *Observer) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	if o.closed.Load() {
		return ctx
	}
	defer o.recovered()
	owner, raw := o.conns.take(info.LocalAddr)
	return context.WithValue(ctx, connKey{o}, &flight{owner: owner, local: info.LocalAddr, probe: probeOf(raw)})
}

// HandleConn tells of a connection's begin and end.
func (o *Observer) HandleConn(ctx context.Context, s stats.ConnStats) {
	if !s.IsClient() || o.closed.Load() {
		return
	}
	defer o.recovered()
	f, ok := ctx.Value(connKey{o}).(*flight)
	if !ok {
		return
	}
	switch s.(type) {
	case *stats.ConnBegin:
		if f.owner == nil {
			o.cfg.Unattributed()
			return
		}
		f.begin()
	case *stats.ConnEnd:
		f.end()
	}
}

// TagRPC marks a wait-for-ready RPC where that will make a difference. It adds nothing to others.
func (o *Observer) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if !info.FailFast && o.failing.Load() > 0 {
		return context.WithValue(ctx, patientKey{}, true)
	}
	return ctx
}

// HandleRPC tells of the end of RPCs and of their waits.
func (o *Observer) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.DelayedPickComplete:
		if o.waits.n.Load() > 0 {
			o.picked(ctx)
		}
	case *stats.End:
		if s.Client && s.Error != nil { // One that waited and ended well was told of by DelayedPickComplete.
			o.ended(ctx, s.Error)
		}
	}
}

func (o *Observer) picked(ctx context.Context) {
	defer o.recovered()
	o.waits.picked(ctx)
}

func (o *Observer) ended(ctx context.Context, err error) {
	if o.closed.Load() {
		return
	}
	defer o.recovered()
	o.waits.ended(ctx, err)
	if status.Code(err) != codes.Unavailable || !failure.IsTransportError(status.Convert(err).Message()) {
		return
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return
	}
	if f := o.flights.aboard(p.LocalAddr); f != nil {
		var (
			id    event.ID
			cause event.Cause
			lost  bool
		)
		f.channel.do(func(time.Time) { id, cause, lost = f.life.Lost() })
		if lost {
			o.cfg.Killed(ctx, id, cause)
		}
	}
}

// Disconnected tells that gRPC lost a transport, in gRPC's own word. It is called by the goroutine that tells so, while
// the socket is still open.
func (o *Observer) Disconnected(word string) {
	if o.closed.Load() || word == failure.SubchannelShutdown { // The end of a policy or subchannel tells that, and of whom.
		return
	}
	defer o.recovered()
	if f := o.flights.connected(goroutines()); f != nil { // It is none if a health check failed.
		f.lose(word)
	}
}

// ExpectDials makes the channels that connect from now on tell [Observer.Dialing] of their subchannels.
func (o *Observer) ExpectDials() { o.dialing.Store(true) }

// DialRecord tells of one call of a dialer.
type DialRecord struct{ subConn *subConn }

// Dialing returns the record of a dial whose context came from gRPC. The record of others records nothing.
func (o *Observer) Dialing(ctx context.Context) DialRecord {
	defer o.recovered()
	s, _ := handshakeInfo(ctx).Value(addressKey{o}).(*subConn)
	d := DialRecord{s}
	d.do(func(at time.Time) { s.life.DialStart(at) })
	return d
}

// Tried tells that the dialer tries an address.
func (d DialRecord) Tried(address string) {
	d.do(func(at time.Time) { d.subConn.life.DialAttempt(at, address) })
}

// Done tells what the dialer answered.
func (d DialRecord) Done(c net.Conn, err error) {
	d.do(func(at time.Time) {
		var ends event.Conn
		if c != nil {
			ends = describe(c)
		}
		d.subConn.life.DialEnd(at, ends, err)
	})
}

func (d DialRecord) do(input func(at time.Time)) {
	if d.subConn != nil {
		d.subConn.do(input)
	}
}
