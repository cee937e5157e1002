package fidelity

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/grpclog"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/internal/selfsigned"
)

var (
	seeds       = flag.Uint64("seeds", 5, "how many seeds to run")
	firstSeed   = flag.Uint64("seed", 1, "the first of them")
	transitions = flag.Int("transitions", 10_000, "how many transitions of subchannels each seed runs at least")
)

const (
	testTimeout = time.Minute
	// lag bounds the time between a transition and redial's record of it, on a machine that is busy.
	lag = time.Second
	// closing is how long before its end a subchannel may change its state without a report from gRPC, and
	// unreportedPercent how large a part of all transitions that may be.
	closing           = lag
	unreportedPercent = 1
	// disputedShare: of so many RPCs that were killed one may not be counted, since gRPC reports no error of one that dies
	// after its headers and before its message; and one may be counted whose caller saw another end, as it gave up in the
	// same moment.
	disputedShare = 500
	// near is how long after an intervention of this side a transport may end because of it.
	near = time.Second
)

var log = newWitness()

func TestMain(m *testing.M) {
	flag.Parse()
	grpclog.SetLoggerV2(log)
	m.Run()
}

// journal is redial's record.
type journal struct {
	mu          sync.Mutex
	n           int
	subchannels map[int64][]transition
	ended       []event.TransportEnded
	open        int
	// waits counts those of RPCs for each reason, and waiting those that go on.
	waits   map[event.WaitReason]int
	waiting int
	// wakes counts the channels that woke, and secured the handshakes of TLS.
	wakes, secured int
}

// Handle implements [event.Sink].
func (j *journal) Handle(_ context.Context, e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e := e.(type) {
	case event.SubchannelState:
		if e.From != "" {
			j.subchannels[e.Subchannel] = append(j.subchannels[e.Subchannel], transition{e.Time, e.To})
			j.n++
		}
	case event.TransportReady:
		j.open++
	case event.TransportEnded:
		j.open--
		j.ended = append(j.ended, e)
	case event.PickWaitStarted:
		j.waits[e.Reason]++
		j.waiting++
	case event.PickWaitEnded:
		j.waiting--
	case event.ConnectStarted:
		if e.Trigger == event.TriggerWake {
			j.wakes++
		}
	case event.PhaseEnded:
		if e.TLS != nil {
			j.secured++
		}
	}
}

func (j *journal) count() (transitions, open int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.n, j.open
}

// verdict is what the comparison found.
type verdict struct {
	agreed, missed, invented, late int
	// unreported are transitions of the last moments before a channel or policy is closed, which gRPC reports to no load
	// balancing policy, and so nobody.
	unreported                         int
	attributed, misattributed, unknown int
	// killed are the RPCs that their callers saw die with a transport, uncounted those of them that redial did not, and
	// overcounted those that redial alone saw die.
	killed, uncounted, overcounted int64
	lags                           []time.Duration
}

func (v *verdict) percent() float64 {
	return 100 * float64(v.agreed) / float64(v.agreed+v.missed+v.invented)
}

// compare holds one subchannel's record against what was witnessed.
func (v *verdict) compare(t *testing.T, id int64, have, want []transition) {
	var end time.Time
	if n := len(want); n > 0 && want[n-1].to == event.StateShutdown {
		end = want[n-1].at
	}
	i := 0
	for _, w := range want {
		if i < len(have) && have[i].to == w.to {
			v.agreed++
			d := have[i].at.Sub(w.at).Abs()
			if v.lags = append(v.lags, d); d > lag {
				v.late++
				t.Errorf("subchannel %d: %s was recorded %v off", id, w.to, d)
			}
			i++
			continue
		}
		if !end.IsZero() && end.Sub(w.at) < closing && (i == len(have) || have[i].to == event.StateShutdown) {
			v.unreported++
			continue
		}
		v.missed++
		t.Errorf("subchannel %d: missed %s; have %v, want %v", id, w.to, statesOf(have), statesOf(want))
	}
	for _, h := range have[i:] {
		v.invented++
		t.Errorf("subchannel %d: invented %s; have %v, want %v", id, h.to, statesOf(have), statesOf(want))
	}
}

func statesOf(all []transition) (states []event.State) {
	for _, t := range all {
		states = append(states, t.to)
	}
	return states
}

// checkCause holds the cause of a transport's end against what was done to it.
func (v *verdict) checkCause(t *testing.T, env *environment, e event.TransportEnded) {
	allowed := env.ledger.of(ends{e.Conn.Local, e.Conn.Remote})
	if e.Conn == (event.Conn{}) && e.RPCs == 0 { // pick_first had one already, and shut this one down at once.
		allowed = append(slices.Clone(allowed), event.CauseLBPolicy)
	}
	for _, a := range env.interventions[e.Target] {
		if d := e.Lost.Sub(a.at); d > -near && d < near {
			allowed = append(slices.Clone(allowed), a.causes...)
		}
	}
	switch {
	case e.Address != e.Conn.Remote:
		v.misattributed++
		t.Errorf("%s: its address is reported as %s", e, e.Address)
	case slices.Contains(allowed, e.Cause):
		v.attributed++
	case e.Cause == event.CauseUnknown:
		v.unknown++
		t.Logf("unknown: %s, TCP %+v, RPC error %q; done to it: %v", e, e.TCP, e.RPCError, allowed)
	default:
		v.misattributed++
		t.Errorf("misattributed: %s, TCP %+v, RPC error %q; want one of %v", e, e.TCP, e.RPCError, allowed)
	}
}

// checkRPCs holds what redial counts as killed against what the callers of each channel saw. Those that the channel's
// close ended may have had a transport or not.
func (v *verdict) checkRPCs(t *testing.T, env *environment, j *journal) {
	counted := map[string]int64{}
	for _, e := range j.ended {
		counted[e.Target] += e.Interrupted
	}
	for target, d := range env.rpcs.byTarget {
		v.killed += d.killed
		v.uncounted += max(0, d.killed-counted[target])
	}
	for target, n := range counted {
		if d := env.rpcs.byTarget[target]; n > d.killed+d.closed {
			v.overcounted += n - d.killed - d.closed
			t.Logf("%s: %d RPCs are recorded as killed; the callers saw %+v", target, n, d)
		}
	}
	if max(v.uncounted, v.overcounted)*disputedShare > v.killed {
		t.Errorf("of %d RPCs that were killed %d are not counted, and %d too many", v.killed, v.uncounted, v.overcounted)
	}
}

// checkChaos checks that chaos did what it is meant to, and that nothing is left open.
func (j *journal) checkChaos(t *testing.T) {
	for _, reason := range []event.WaitReason{event.WaitNameResolution, event.WaitConnecting, event.WaitStreamQuota} {
		if j.waits[reason] == 0 {
			t.Errorf("no RPC waited for %s", reason)
		}
	}
	if j.wakes == 0 || j.secured == 0 {
		t.Errorf("%d channels woke, and %d handshakes were of TLS, want some", j.wakes, j.secured)
	}
	if j.waiting != 0 {
		t.Errorf("%d waits are open at the end", j.waiting)
	}
}

func TestFidelity(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { fidelity(t, seed) })
	}
}

func fidelity(t *testing.T, seed uint64) {
	log.take()
	j := &journal{subchannels: map[int64][]transition{}, waits: map[event.WaitReason]int{}}
	h := instrument.NewHandler(instrument.WithSink(j), instrument.WithSpanRate(1))
	cert, pool := selfsigned.Certificate(t, serverName)
	env, err := newEnvironment(seed, h, cert, pool)
	if err != nil {
		t.Fatal(err)
	}
	env.run(func() bool { n, _ := j.count(); return n >= *transitions })
	if err := env.close(); err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(testTimeout)
	for _, open := j.count(); open > 0; _, open = j.count() {
		if time.Now().After(deadline) {
			t.Fatalf("%d transports did not end", open)
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}

	var v verdict
	witnessed := log.take()
	for id, want := range witnessed {
		v.compare(t, id, j.subchannels[id], want)
	}
	for id, have := range j.subchannels {
		if _, known := witnessed[id]; !known {
			v.compare(t, id, have, nil)
		}
	}
	for _, e := range j.ended {
		v.checkCause(t, env, e)
	}
	v.checkRPCs(t, env, j)
	j.checkChaos(t)
	slices.Sort(v.lags)
	fmt.Printf("seed %d: agreed %d (%.2f %%), missed %d, invented %d; %d more unreported at a close; "+
		"lag p99 %v, at most %v\n"+
		"        %d transports: attributed %d, misattributed %d, unknown %d; killed %d RPCs, %d not counted, %d too many\n"+
		"        RPCs waited: %v\n",
		seed, v.agreed, v.percent(), v.missed, v.invented, v.unreported, v.lags[len(v.lags)*99/100], v.lags[len(v.lags)-1],
		len(j.ended), v.attributed, v.misattributed, v.unknown, v.killed, v.uncounted, v.overcounted, j.waits)
	if v.unreported*100 > v.agreed*unreportedPercent {
		t.Errorf("%d transitions were not heard, %d %% of all at most are plausible", v.unreported, unreportedPercent)
	}
	if v.agreed < *transitions {
		t.Errorf("%d transitions agreed, want %d at least", v.agreed, *transitions)
	}
}
