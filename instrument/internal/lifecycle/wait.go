package lifecycle

import (
	"context"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
)

// Wait is an RPC that waits for a pick.
type Wait struct {
	policy  *Policy
	ctx     context.Context
	method  string
	start   time.Time
	episode event.ID
}

// Wait reports that the policy's picker queued an RPC.
func (p *Policy) Wait(ctx context.Context, at time.Time, method string) *Wait {
	header := p.ch.header(at)
	w := &Wait{policy: p, ctx: ctx, method: method, start: header.Time}
	if p.ch.interrupted {
		return w
	}
	if p.ch.waits == nil {
		p.ch.waits = map[*Wait]struct{}{}
	}
	p.ch.waits[w] = struct{}{}
	if e := p.episode(); e != nil {
		w.join(e)
	}
	p.ch.emit(event.PickWaitStarted{Header: header, Episode: w.episode, Method: method})
	return w
}

func (w *Wait) join(e *episode) {
	w.episode = e.id
	e.rpcsWaited++
}

// End reports how the wait ended. Later calls do nothing.
func (w *Wait) End(at time.Time, o event.Outcome, err error) {
	ch := w.policy.ch
	if _, open := ch.waits[w]; !open {
		return
	}
	delete(ch.waits, w)
	if len(ch.waits) == 0 {
		ch.waits = nil // A map keeps the memory of all that were ever in it.
	}
	ch.emit(event.PickWaitEnded{
		Header: ch.header(at), Context: w.ctx, Method: w.method, Episode: w.episode, Start: w.start, Outcome: o, Err: err,
		ErrorType: waitFailure(o, err),
	})
}

// waitFailure returns the class of a wait's end by what ended it: the error of one that was given up quotes the
// connection's.
func waitFailure(o event.Outcome, err error) string {
	switch o {
	case event.OutcomeCancelled:
		return failure.Cancelled
	case event.OutcomeDeadlineExceeded:
		return failure.Timeout
	}
	return failure.Type(err)
}

// Refuse reports that an RPC failed because the policy has no READY subchannel, and returns the event.
func (p *Policy) Refuse(ctx context.Context, at time.Time, method string, err error) event.RPCRefused {
	refused := event.RPCRefused{Header: p.ch.header(at), Context: ctx, Method: method, Err: err, ErrorType: failure.Type(err)}
	if e := p.failed(); e != nil {
		refused.Endpoint = e.id
		refused.ErrorType = e.errType
	}
	if e := p.episode(); e != nil {
		refused.Episode = e.id
	}
	p.ch.emit(refused)
	return refused
}
