package record

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/text"
)

// recorded are the events of an observer, and the facts that failed.
type recorded struct {
	mu     sync.Mutex
	all    []event.Event
	failed []grpcinternals.Fact
}

func (r *recorded) Emit(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, e)
}

func (r *recorded) InternalsFailed(fact grpcinternals.Fact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fact)
}

// facts returns those that failed.
func (r *recorded) facts() []grpcinternals.Fact {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.failed)
}

func (*recorded) Sampled(sample.TCP) {}
func (*recorded) Unattributed()      {}
func (*recorded) PickOverflowed()    {}

// continued counts the events by which something that goes on was reported.
func (r *recorded) continued() (resolutions, attempts, episodes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.all {
		switch e := e.(type) {
		case event.Resolved:
			resolutions += one(e.Outcome)
		case event.AttemptEnded:
			attempts += one(e.Outcome)
		case event.ConnectEnded:
			episodes += one(e.Outcome)
		}
	}
	return resolutions, attempts, episodes
}

func one(o event.Outcome) int {
	if o == event.OutcomeContinued {
		return 1
	}
	return 0
}

type noMetrics struct {
	estats.UnimplementedMetricsRecorder
}

type noSubConn struct{ balancer.SubConn }

// A name resolution and an attempt that hang for ever are reported every five minutes, whether metrics are collected or
// not, and no timer is left when they are over.
func TestWhatHangsShowsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &recorded{}
		o := New(Config{
			Target:  func(resolver.Target) (string, text.Cleaner) { return "target", text.Cleaner{} },
			Backoff: func(int) time.Duration { return time.Second },
			Events:  events,
			Faults:  report.New(func(err error) { t.Error(err) }),
		})
		c := o.channel(&noMetrics{}, resolver.Target{})
		r := c.OpenResolver("", nil)
		time.Sleep(11 * time.Minute)
		if have, _, _ := events.continued(); have != 2 {
			t.Errorf("a resolution that hangs for 11 minutes was reported %d times", have)
		}
		p := c.OpenPolicy(PickFirst, nil)
		r.Answered(resolver.State{Addresses: []resolver.Address{{Addr: "127.0.0.1:1"}}}, nil)
		r.Taken(nil)
		s := p.NewSubchannel()
		s.Made(&noSubConn{}, []resolver.Address{{Addr: "127.0.0.1:1"}})
		s.SetState(balancer.SubConnState{ConnectivityState: connectivity.Connecting})
		time.Sleep(11*time.Minute + time.Second)
		if _, attempts, episodes := events.continued(); attempts != 2 || episodes != 2 {
			t.Errorf("an attempt that hangs for 11 minutes was reported %d times, and its episode %d times", attempts, episodes)
		}
		r.Close()
		p.Close()
		time.Sleep(2 * time.Minute)
		if o.roller.ticking.Load() {
			t.Error("the timer runs, and nothing goes on")
		}
		if have, attempts, _ := events.continued(); have != 2 || attempts != 2 {
			t.Errorf("after the end: %d resolutions and %d attempts", have, attempts)
		}
	})
}
