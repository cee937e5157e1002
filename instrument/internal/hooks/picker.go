package hooks

import (
	"errors"
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

// picker counts the RPCs on each transport, and tells of those that get none. A pick that succeeds allocates nothing,
// unless the policy itself wants to know when the RPC is done.
type picker struct {
	balancer.Picker
	policy *policy
	// first is the subchannel picked first: pick_first picks no other. It is set once, lest RPCs of other subchannels, where
	// a policy picks among several, contend for it.
	first atomic.Pointer[subConn]
}

// Pick implements [balancer.Picker].
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	result, err := p.Picker.Pick(info)
	if err != nil {
		if !p.policy.observer.closed.Load() {
			p.policy.noPick(info, err)
		}
		return result, err
	}
	f := p.flight(result.SubConn)
	if f == nil {
		return result, nil
	}
	f.life.InFlight.Add(1)
	if done := result.Done; done != nil {
		result.Done = func(info balancer.DoneInfo) {
			f.done(info)
			done(info)
		}
	} else {
		result.Done = f.done
	}
	return result, nil
}

func (p *picker) flight(sc balancer.SubConn) *flight {
	s := p.first.Load()
	if s == nil || s.sc != sc {
		found := p.policy.find(sc)
		if found == nil {
			return nil
		}
		if s == nil {
			p.first.Store(found)
		}
		s = found
	}
	return s.flight.Load()
}

// noPick tells what becomes of an RPC that the picker has no transport for.
func (p *policy) noPick(info balancer.PickInfo, err error) {
	defer p.observer.recovered()
	if errors.Is(err, balancer.ErrNoSubConnAvailable) {
		p.observer.waits.queued(p, info)
		return
	}
	if _, dropped := status.FromError(err); !dropped { // The policy's own refusals are no lack of a transport.
		p.observer.waits.failed(p, info, err)
	}
}

// flight is the count of the RPCs on one transport.
type flight struct {
	channel *channel
	life    *lifecycle.Transport
	local   net.Addr
	// connector is the goroutine that connected the transport.
	connector uint64
	probe     func() *event.TCP // Nil where the kernel cannot be asked.
	samples   samples
	// leaving: the transport takes no new RPCs, and the last one's end completes its record.
	leaving atomic.Bool
	done    func(balancer.DoneInfo)
}

// newFlight is called with the channel locked.
func newFlight(c *channel, life *lifecycle.Transport, probe func() *event.TCP) *flight {
	f := &flight{channel: c, life: life, probe: probe, samples: samples{target: c.life.Target()}}
	f.done = f.rpcDone
	return f
}

func (f *flight) rpcDone(info balancer.DoneInfo) {
	if info.Err != nil && status.Code(info.Err) == codes.Unavailable {
		f.ended(status.Convert(info.Err).Message(), info.Err)
	}
	if f.life.InFlight.Add(-1) <= 0 && f.leaving.Load() {
		f.settle()
	}
}

// ended tells of an RPC that the transport may have killed.
func (f *flight) ended(message string, err error) {
	switch {
	case failure.Unseen(message):
		f.channel.do(func(time.Time) { f.life.RPCRetried() })
	case failure.OfTransport(message):
		f.channel.do(func(at time.Time) { f.life.RPCKilled(at, err.Error()) })
	}
}

// settle tells that the transport is lost or gone: its record ends with its last RPC, or a little later.
func (f *flight) settle() {
	f.leaving.Store(true)
	var deadline time.Time
	var ended bool
	f.channel.do(func(at time.Time) {
		f.life.Check(at)
		deadline, ended = f.life.Deadline(), f.life.Ended()
	})
	switch {
	case ended:
		// gRPC tells that an RPC is done first to its pick, which may complete the record, and then to the handler,
		// which still asks for the cause.
		time.AfterFunc(lifecycle.Grace, func() { f.channel.observer.conns.leave(f) })
		f.channel.observer.forgetIfFinished(f.channel)
	case !deadline.IsZero():
		time.AfterFunc(time.Until(deadline), f.settle)
	}
}
