package instrument_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/redial-dev/redial/instrument"
)

// A process that dials targets without end has as many by name as the limit says, the filtered ones not among them,
// and the rest is shown as one and counted.
func TestManyTargets(t *testing.T) {
	const (
		targets  = 10_000
		filtered = targets / 10
		limit    = 50
	)
	env := newEnvironment(t, instrument.WithMaxTargets(limit), instrument.WithPatience(patience),
		instrument.WithTargetFilter(func(target string) bool { return !strings.HasSuffix(target, "0") }))
	refuse := grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return nil, errors.New("refused") })
	var dialers sync.WaitGroup
	next := make(chan int)
	for range 8 {
		dialers.Go(func() {
			for i := range next {
				cc, err := grpc.NewClient(fmt.Sprint("passthrough:///", i), env.handler.DialOption(), insecureOption, refuse)
				if err != nil {
					t.Error(err)
					continue
				}
				cc.Connect()
				for state := cc.GetState(); state != connectivity.TransientFailure; state = cc.GetState() {
					cc.WaitForStateChange(t.Context(), state)
				}
				if err := cc.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range targets {
		next <- i
	}
	close(next)
	dialers.Wait()
	env.closeAll()
	shown := map[string]map[string]bool{} // The targets of each metric.
	env.eachSeries(func(name string, of attribute.Set, value int64) {
		if shown[name] == nil {
			shown[name] = map[string]bool{}
		}
		if target, ok := of.Value("grpc.target"); ok {
			shown[name][target.AsString()] = true
			if strings.HasSuffix(target.AsString(), "0") {
				t.Errorf("%s has the target %s, which the filter leaves out", name, target.AsString())
			}
		}
		if want := int64(targets - filtered - limit); name == "redial.targets.overflowed" && value != want {
			t.Errorf("%s is %d, want %d", name, value, want)
		}
	})
	for _, name := range []string{"redial.channels", "redial.subchannels", "redial.attempt.duration",
		"redial.resolve.duration",
		"grpc.subchannel.connection_attempts_failed"} {
		if n := len(shown[name]); n != limit+1 || !shown[name]["other"] {
			t.Errorf("%s has %d targets, want %d and other", name, n, limit)
		}
	}
	if _, ok := shown["redial.targets.overflowed"]; !ok {
		t.Error("targets that overflowed are not counted")
	}
	env.shutdown()
}

// A filter that panics harms no channel.
func TestTargetFilterPanics(t *testing.T) {
	env := newEnvironment(t, instrument.WithTargetFilter(func(string) bool { panic("a filter's fault") }))
	var reports atomic.Int64
	env.onFault(func(err error) {
		if reports.Add(1); !strings.Contains(err.Error(), "a filter's fault") {
			t.Errorf("reported to otel.Handle: %v", err)
		}
	})
	srv := env.serve("S1")
	mustCall(t, env.dial(srv.address))
	env.closeAll()
	env.eachSeries(func(name string, of attribute.Set, _ int64) {
		if target, ok := of.Value("grpc.target"); ok && target.AsString() != "other" {
			t.Errorf("%s has the target %s", name, target.AsString())
		}
	})
	env.shutdown()
	if reports.Load() == 0 {
		t.Error("the panic was not reported")
	}
}
