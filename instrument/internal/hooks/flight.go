package hooks

import (
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// flight is one transport, and the RPCs on it. The context of its connection carries it.
type flight struct {
	owner *subConn // Nil where it is not known whose the connection is.
	local net.Addr
	probe func() *event.TCP // Nil where the kernel cannot be asked.

	// What follows is set when the connection begins.

	channel *channel
	life    *lifecycle.Transport // Nil if it did not begin.
	// connector is the goroutine that connected the transport.
	connector uint64
	samples   *samples // Nil unless the socket is sampled.
	done      func(balancer.DoneInfo)
	// inFlight counts the RPCs on it.
	inFlight atomic.Int64
	// leaving: the transport takes no new RPCs, and the last one's end completes its record.
	leaving atomic.Bool
}

// InFlight implements [lifecycle.RPCs].
func (f *flight) InFlight() int64 { return f.inFlight.Load() }

// begin tells of the connection's begin. It is called by the goroutine that connects.
func (f *flight) begin() {
	s := f.owner
	s.do(func(at time.Time) {
		f.channel, f.life, f.done = s.policy.channel, s.life.ConnBegin(at, f, f.probe != nil), f.rpcDone
		if f.channel.observer.sampler.interval > 0 {
			f.samples = &samples{target: f.channel.life.Target()}
		}
		s.flight.Store(f)
	})
	if f.life == nil {
		return
	}
	f.connector, _ = goroutines()
	o := f.channel.observer
	o.flights.board(f)
	o.sampler.add(f)
}

// end tells of the connection's end.
func (f *flight) end() {
	if f.life == nil {
		return
	}
	var atLoss *event.TCP
	f.channel.do(func(at time.Time) {
		f.life.ConnEnd(at)
		atLoss = f.life.TCP()
	})
	f.channel.observer.sampler.remove(f, atLoss)
	f.settle()
}

// lose tells that gRPC lost the transport, in gRPC's own word, while its socket is still open.
func (f *flight) lose(word string) {
	var tcp *event.TCP
	if f.probe != nil {
		tcp = f.probe()
	}
	f.channel.do(func(at time.Time) { f.life.Disconnected(at, word, tcp) })
}

func (f *flight) rpcDone(info balancer.DoneInfo) {
	if info.Err != nil && status.Code(info.Err) == codes.Unavailable {
		f.ended(status.Convert(info.Err).Message(), info.Err)
	}
	if f.inFlight.Add(-1) <= 0 && f.leaving.Load() {
		f.settle()
	}
}

// ended tells of an RPC that the transport may have killed.
func (f *flight) ended(message string, err error) {
	switch {
	case failure.IsTransparentRetry(message):
		f.channel.do(func(time.Time) { f.life.RPCRetried() })
	case failure.IsTransportError(message):
		f.channel.do(func(at time.Time) { f.life.RPCKilled(at, err.Error()) })
	}
}

// settle tells that the transport is lost or gone: its record ends with its last RPC, or a little later.
func (f *flight) settle() {
	f.leaving.Store(true)
	var leaving, ended bool
	f.channel.do(func(at time.Time) {
		f.life.Check(at)
		leaving, ended = f.life.Finishing(), f.life.Ended()
	})
	o := f.channel.observer
	switch {
	case ended:
		// gRPC tells that an RPC is done first to its pick, which may complete the record, and then to the handler,
		// which still asks for the cause.
		o.flights.afterGrace(f, func() { o.flights.leave(f) })
		o.forgetIfFinished(f.channel)
	case leaving:
		o.flights.afterGrace(f, f.settle)
	}
}
