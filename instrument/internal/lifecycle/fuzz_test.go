package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/internal/text"
)

// FuzzMachine throws inputs at the machine in an order that gRPC would never choose, and holds what must be true of
// its outputs whatever comes.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x00\x01\x05\x02\x10\x03\x11\x04\x20\x05\x08\x06\x30\x07\x02\x08\x01\x09\x15"))
	for seed := range uint64(200) { // So that each run of the tests has some long ones.
		random := rand.New(rand.NewPCG(1, seed))
		script := make([]byte, 2048)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4096 {
			return
		}
		run(t, script)
	})
}

// run runs a script: each input is a byte that chooses it and one that chooses to what, and how time moves.
func run(t *testing.T, script []byte) {
	j := &judge{t: t, open: map[string]bool{}, reported: map[int64]time.Time{}, phases: map[event.ID]time.Time{}}
	driver := newDriver(j)
	for ; len(script) >= 2; script = script[2:] {
		j.listening = true
		driver.step(script[0], script[1])
		j.listening = false
		driver.checkMemory(t)
	}
	j.listening = true
	driver.finish()
	j.listening = false
	if j.waiting > 0 {
		t.Errorf("%d waits never ended", j.waiting)
	}
	for what := range j.open {
		t.Errorf("%s never ended", what)
	}
	if !driver.ch.Done() {
		t.Error("everything is closed, but the channel still keeps something")
	}
	if t.Failed() {
		for _, e := range j.events {
			t.Logf("%v %s", e.EventHeader().Time.Sub(begin), e)
		}
	}
}

// driver holds a machine and what is in it.
type driver struct {
	ch          *Channel
	resolver    *Resolver
	policies    []*Policy
	subchannels []*Subchannel
	transports  []*Transport
	inFlight    []*rpcs // Of each transport.
	waits       []*Wait
	now         time.Time
}

func newDriver(j *judge) *driver {
	var ids event.ID
	p := &driver{now: begin}
	p.ch = NewChannel(&Config{
		NextID: func() event.ID { ids++; return ids }, Emit: j.record,
		Backoff: func(int) time.Duration { return time.Millisecond }, BackoffKnown: true,
		Fault: func(error) {}, // gRPC never sends such inputs.
	}, "fuzz", text.Cleaner{})
	p.ch.Identify(1)
	p.resolver = p.ch.OpenResolver(PaceThrottled)
	return p
}

var (
	states = []event.State{event.StateIdle, event.StateConnecting, event.StateReady,
		event.StateTransientFailure, event.StateShutdown}
	causes   = []event.Cause{event.CauseChannelClosed, event.CauseIdleTimeout, event.CauseLBPolicy}
	words    = []string{"unknown", "connection reset", "GOAWAY NO_ERROR", "subchannel shutdown"}
	outcomes = []event.Outcome{event.OutcomePicked, event.OutcomeFailed, event.OutcomeCancelled,
		event.OutcomeDeadlineExceeded}
	sockets = []*event.TCP{nil, {State: "CLOSE"}, {State: "CLOSE_WAIT"}, {State: "ESTABLISHED", Idle: time.Minute}}
	paths   = []*event.TCP{
		nil, {State: "ESTABLISHED"}, {State: "ESTABLISHED", Unacked: 1, Timeouts: 2, Idle: time.Minute, AckIdle: time.Minute},
	}
	errFuzz = errors.New("fuzz")
)

func choose[T any](from []T, by byte) (chosen T) {
	if len(from) > 0 {
		chosen = from[int(by)%len(from)]
	}
	return chosen
}

// step runs one input. Time moves on, and a little back now and then, as the clocks of several goroutines do.
func (d *driver) step(what, which byte) {
	d.now = d.now.Add(time.Duration(int(which%16)-3) * time.Millisecond)
	conn := event.Conn{Network: "tcp", Local: fmt.Sprint("local:", which), Remote: "remote:1"}
	var err error
	if which%3 == 0 {
		err = errFuzz
	}
	switch what % 8 {
	case 0:
		d.make(which)
		return
	case 1:
		d.ofChannel(what/8, which, err)
		return
	}
	if s := choose(d.subchannels, which); s != nil {
		d.ofSubchannel(s, what, which, conn, err)
	}
	if len(d.transports) > 0 && what%8 == 7 {
		d.ofTransport(int(which)%len(d.transports), what/8)
	}
}

func (d *driver) make(which byte) {
	switch which % 4 {
	case 0:
		d.policies = append(d.policies, d.ch.OpenPickFirst())
	case 1:
		d.policies = append(d.policies, d.ch.OpenPolicy())
	case 2:
		if policy := choose(d.policies, which/4); policy != nil {
			addresses := []Address{{Server: fmt.Sprint("address:", which)}, {Server: "server:1", Proxy: "proxy:1"}}
			s := policy.Add(d.now, int64(10+len(d.subchannels)), addresses[:1+which/8%2]...)
			d.subchannels = append(d.subchannels, s)
		}
	case 3:
		if policy := choose(d.policies, which/4); policy != nil {
			d.waits = append(d.waits, policy.Wait(context.Background(), d.now, "/Fuzz/Wait"),
				d.ch.Pending(context.Background(), d.now, d.now, "/Fuzz/Pending"))
		}
	}
}

func (d *driver) ofChannel(what, which byte, err error) {
	policy := choose(d.policies, which)
	switch what % 10 {
	case 0:
		d.ch.SetState(d.now, choose(states, which))
	case 1:
		if t := choose(d.transports, which); t != nil {
			t.Disconnected(d.now, failure.Loss{
				DisconnectError: choose(words, which), TCP: choose(sockets, which/4),
				ByKeepalive: which%16 == 0, LastRead: failure.LastRead(which / 16 % 4),
			})
		}
	case 2:
		d.resolver.Asked(d.now)
	case 3:
		d.resolver.Answered(d.now, []string{fmt.Sprint("address:", which)}, err)
	case 4:
		if w := choose(d.waits, which); w != nil {
			d.ofWait(w, which, err)
		}
	case 5:
		if which == 0xff {
			d.ch.Interrupt(d.now)
		}
		d.ch.RollOver(d.now)
	}
	if policy == nil {
		return
	}
	switch what % 10 {
	case 6:
		policy.SetState(d.now, choose(states, which), err)
	case 7:
		policy.Close(d.now, choose(causes, which))
	case 8:
		policy.CloseRemoved(d.now)
	case 9:
		d.ch.Refused(d.now, d.ch.Refuse(context.Background(), d.now, policy, "/Fuzz/Refuse", "", err))
	}
}

func (d *driver) ofWait(w *Wait, which byte, err error) {
	switch policy := choose(d.policies, which/4); which % 4 {
	case 0:
		w.Picked(d.now)
	case 1:
		w.Drop(d.now)
	case 2:
		if policy != nil {
			w.Queued(d.now, policy)
		}
	case 3:
		w.End(d.now, choose(outcomes, which), err)
	}
}

func (d *driver) ofSubchannel(s *Subchannel, what, which byte, conn event.Conn, err error) {
	switch what % 8 {
	case 2, 3:
		s.SetState(d.now, choose(states, what/8), err)
	case 4:
		s.DialStart(d.now)
	case 5:
		if which%2 == 0 {
			s.DialAttempt(d.now, "tried:1")
		}
		s.DialEnd(d.now, conn, err)
	case 6:
		s.HandshakeStart(d.now, conn, time.Time{})
		s.ConnectsTo(Address{Server: "server:1", Proxy: "proxy:1"})
		s.HandshakeEnd(d.now, nil, err)
	case 7:
		if len(d.transports) < 2*len(d.subchannels) {
			count := &rpcs{}
			d.transports = append(d.transports, s.ConnBegin(d.now, count, which%2 == 0))
			d.inFlight = append(d.inFlight, count)
		}
	}
}

func (d *driver) ofTransport(n int, what byte) {
	t := d.transports[n]
	switch what % 5 {
	case 0:
		t.ConnEnd(d.now)
	case 4:
		t.RPCTimedOut(d.now, d.now.Add(-time.Second), choose(paths, what/5))
		t.PathSeen(d.now, d.now.Add(-time.Second), choose(paths, what/5))
	case 1:
		d.inFlight[n].n = int64(what % 3)
		d.inFlight[n].sent += int64(what % 3)
	case 2:
		t.RPCKilled(d.now, "error reading from server: EOF")
	case 3:
		t.Check(d.now)
	}
}

// finish ends what gRPC always ends.
func (d *driver) finish() {
	for _, w := range d.waits {
		w.End(d.now, event.OutcomeCancelled, nil)
	}
	for _, policy := range d.policies {
		policy.Close(d.now, event.CauseChannelClosed)
	}
	for i, t := range d.transports {
		d.inFlight[i].n = 0
		t.ConnEnd(d.now)
		t.Check(d.now)
	}
	d.resolver.Close(d.now)
}

// checkMemory holds that the machine keeps no more than what is there.
func (d *driver) checkMemory(t *testing.T) {
	if n := len(d.ch.leaving); n > len(d.transports)+len(d.subchannels) {
		t.Errorf("%d transports are kept, there are %d", n, len(d.transports))
	}
	if n := len(d.ch.policies); n > len(d.policies) {
		t.Errorf("%d policies are kept, there are %d", n, len(d.policies))
	}
}

// judge records the events, and what must be true of them.
type judge struct {
	t         *testing.T
	events    []event.Event
	listening bool                   // An input goes on.
	open      map[string]bool        // What began and did not end.
	waiting   int                    // Waits that were reported and did not end.
	reported  map[int64]time.Time    // The newest time reported of a subchannel.
	phases    map[event.ID]time.Time // When the last phase of an attempt ended; of open attempts.
}

func (j *judge) record(e event.Event) {
	if !j.listening {
		j.t.Errorf("without an input: %s", e)
	}
	h := e.EventHeader()
	j.events = append(j.events, e)
	if last := j.reported[h.Subchannel]; h.Time.Before(last) {
		j.t.Errorf("%v runs back to %v: %s", last.Sub(begin), h.Time.Sub(begin), e)
	}
	j.reported[h.Subchannel] = h.Time
	switch e := e.(type) {
	case event.ConnectStarted:
		j.begin("episode", e.Episode)
	case event.ConnectEnded:
		j.end("episode", e.Episode)
		j.ordered(e, e.Start, e.Time)
	case event.AttemptStarted:
		j.begin("attempt", e.Attempt)
		j.within("episode", e.Episode)
		j.phases[e.Attempt] = e.Time
		if began, continued := j.phases[e.Previous]; continued {
			j.phases[e.Attempt] = began
			delete(j.phases, e.Previous)
		}
	case event.PhaseEnded:
		j.within("attempt", e.Attempt)
		j.ordered(e, j.phases[e.Attempt], e.Start, e.Time)
		j.phases[e.Attempt] = e.Time
	case event.AttemptEnded:
		if j.phases[e.Attempt].IsZero() {
			j.t.Errorf("no phase of it was reported: %s", e)
		}
		if e.Outcome != event.OutcomeContinued {
			delete(j.phases, e.Attempt)
		}
		j.end("attempt", e.Attempt)
		j.within("episode", e.Episode)
		j.ordered(e, e.Start, e.Time)
	case event.BackoffStarted:
		j.begin("backoff", event.ID(h.Subchannel))
		j.within("episode", e.Episode)
	case event.BackoffEnded:
		j.end("backoff", event.ID(h.Subchannel))
		j.ordered(e, e.Start, e.Time)
	case event.PickWaitStarted:
		j.waiting++
	case event.PickWaitEnded:
		if j.waiting--; j.waiting < 0 {
			j.t.Errorf("a wait ended that did not begin: %s", e)
		}
		j.ordered(e, e.Start, e.Time)
	case event.TransportReady:
		j.begin("transport", e.Transport)
	case event.TransportDraining:
		j.within("transport", e.Transport)
	case event.TransportStalled:
		j.within("transport", e.Transport)
		j.ordered(e, e.Start, e.Time)
		j.begin("stall", e.Transport)
	case event.TransportRecovered:
		j.within("transport", e.Transport)
		j.ordered(e, e.Start, e.Time)
		j.end("stall", e.Transport)
	case event.TransportEnded:
		delete(j.open, fmt.Sprint("stall ", e.Transport))
		if e.Stalled < 0 || e.Stalled > e.Lost.Sub(e.Start) {
			j.t.Errorf("stalled for %v of %v: %s", e.Stalled, e.Lost.Sub(e.Start), e)
		}
		j.end("transport", e.Transport)
		j.ordered(e, e.Start, e.Lost, e.Gone)
	}
}

func (j *judge) begin(what string, id event.ID) {
	key := fmt.Sprint(what, " ", id)
	if j.open[key] {
		j.t.Errorf("%s began twice", key)
	}
	j.open[key] = true
}

func (j *judge) end(what string, id event.ID) {
	key := fmt.Sprint(what, " ", id)
	if !j.open[key] {
		j.t.Errorf("%s ended, but it is not open", key)
	}
	delete(j.open, key)
}

func (j *judge) within(what string, id event.ID) {
	if key := fmt.Sprint(what, " ", id); !j.open[key] {
		j.t.Errorf("something happened in %s, which is not open", key)
	}
}

func (j *judge) ordered(e event.Event, times ...time.Time) {
	if !slices.IsSortedFunc(times, time.Time.Compare) {
		j.t.Errorf("times run backwards: %v in %s", times, e)
	}
}
