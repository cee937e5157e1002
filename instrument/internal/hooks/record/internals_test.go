package record

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/table"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/text"
)

// observe returns an observer with the record of one subchannel, and what it finds.
func observe(t *testing.T) (*Observer, *Subchannel, *recorded) {
	t.Helper()
	found := &recorded{}
	o := New(Config{
		Target:  func(resolver.Target) (string, text.Cleaner) { return "target", text.Cleaner{} },
		Backoff: func(int) time.Duration { return time.Second },
		Events:  found,
		Faults:  report.New(func(err error) { t.Error(err) }),
	})
	c := o.withKey(t.Name())
	c.open(resolver.Target{})
	p := c.OpenPolicy(PickFirst, nil)
	s := p.NewSubchannel()
	s.Made(&noSubConn{}, []resolver.Address{{Addr: "127.0.0.1:1"}})
	return o, s, found
}

// Where one goroutine connects several transports that are open at once, none is found by it.
func TestOneGoroutineConnectsTwo(t *testing.T) {
	o, s, found := observe(t)
	begin := func(goroutine uint64) *Transport {
		s.SetState(balancer.SubConnState{ConnectivityState: connectivity.Connecting})
		transport := &Transport{owner: s, key: table.Key{Goroutine: goroutine}}
		o.Begin(transport)
		return transport
	}
	one := begin(7)
	if o.transports.ByGoroutine(7) != one || len(found.facts()) > 0 {
		t.Fatalf("a transport is not found by the goroutine that connected it: %v", found.facts())
	}
	begin(7)
	if o.transports.ByGoroutine(7) != nil {
		t.Error("a transport is found by a goroutine that connected two")
	}
	if !slices.Equal(found.facts(), []grpcinternals.Fact{grpcinternals.Goroutines}) {
		t.Errorf("failed: %v", found.facts())
	}
	three := begin(8)
	three.End()
	if four := begin(8); o.transports.ByGoroutine(8) != four || len(found.facts()) != 1 {
		t.Errorf("a goroutine connected anew after its first transport was closed, and failed: %v", found.facts())
	}
	o.Close()
}

// Where gRPC reports READY, and the begin of the connection in another goroutine or with another address, that is no
// fault of the policy.
func TestConnectionBeginUnseen(t *testing.T) {
	o, s, found := observe(t)
	s.SetState(balancer.SubConnState{ConnectivityState: connectivity.Connecting})
	o.connections.Add(&table.Connection[*Subchannel]{Owner: s, Key: table.Key{Goroutine: 7}})
	o.Begin(&Transport{key: table.Key{Goroutine: 8}})
	s.SetState(balancer.SubConnState{ConnectivityState: connectivity.Ready})
	if !slices.Equal(found.facts(), []grpcinternals.Fact{grpcinternals.Connections}) {
		t.Errorf("failed: %v", found.facts())
	}
	o.Close()
}

// stuck is gRPC's own record of a channel whose state is kept elsewhere.
type stuck struct {
	ID             int64
	ChannelMetrics struct {
		State atomic.Pointer[connectivity.State]
	}
}

// A channel that was closed before it connected is forgotten though gRPC's record has it CONNECTING for ever.
func TestStuckChannelForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s, found := observe(t)
		z, state := &stuck{ID: 7}, connectivity.Connecting
		z.ChannelMetrics.State.Store(&state)
		c := s.policy.channel
		c.identify(grpcinternals.ReadChannelz(z), true)
		r := c.OpenResolver("dns", nil)
		s.policy.Close()
		r.Close()
		if len(o.all()) != 1 || len(found.facts()) > 0 {
			t.Errorf("%d channels, failed: %v: gRPC may be about to store SHUTDOWN", len(o.all()), found.facts())
		}
		time.Sleep(lifecycle.Grace + time.Millisecond)
		synctest.Wait()
		if len(o.all()) != 0 || !slices.Equal(found.facts(), []grpcinternals.Fact{grpcinternals.ChannelRecord}) {
			t.Errorf("%d channels, failed: %v", len(o.all()), found.facts())
		}
		o.Close()
	})
}
