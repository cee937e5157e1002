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
// and the rest is told as one and counted.
func TestManyTargets(t *testing.T) {
	const (
		targets  = 10_000
		filtered = targets / 10
		most     = 50
	)
	s := newScene(t, instrument.WithMaxTargets(most),
		instrument.WithTargetFilter(func(target string) bool { return !strings.HasSuffix(target, "0") }))
	refuse := grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return nil, errors.New("refused") })
	var dialers sync.WaitGroup
	next := make(chan int)
	for range 8 {
		dialers.Go(func() {
			for i := range next {
				cc, err := grpc.NewClient(fmt.Sprint("passthrough:///", i), s.handler.DialOption(), insecureOption, refuse)
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
	s.closeAll()
	told := map[string]map[string]bool{} // The targets that each metric is told of.
	s.eachSeries(func(name string, of attribute.Set, value int64) {
		if told[name] == nil {
			told[name] = map[string]bool{}
		}
		if target, ok := of.Value("grpc.target"); ok {
			told[name][target.AsString()] = true
			if strings.HasSuffix(target.AsString(), "0") {
				t.Errorf("%s is told of %s, which the filter leaves out", name, target.AsString())
			}
		}
		if want := int64(targets - filtered - most); name == "redial.targets.overflowed" && value != want {
			t.Errorf("%s is %d, want %d", name, value, want)
		}
	})
	for _, name := range []string{"redial.channels", "redial.subchannels", "redial.attempt.duration", "redial.resolve.duration",
		"grpc.subchannel.connection_attempts_failed"} {
		if n := len(told[name]); n != most+1 || !told[name]["other"] {
			t.Errorf("%s is told of %d targets, want %d and other", name, n, most)
		}
	}
	if _, ok := told["redial.targets.overflowed"]; !ok {
		t.Error("it is not told that targets overflowed")
	}
	s.shutdown()
}

// A filter that panics harms no channel.
func TestTargetFilterPanics(t *testing.T) {
	s := newScene(t, instrument.WithTargetFilter(func(string) bool { panic("a filter's fault") }))
	var told atomic.Int64
	s.onFault(func(err error) {
		if told.Add(1); !strings.Contains(err.Error(), "a filter's fault") {
			t.Errorf("told to otel.Handle: %v", err)
		}
	})
	srv := s.serve("S1")
	mustCall(t, s.dial(srv.address))
	s.closeAll()
	s.eachSeries(func(name string, of attribute.Set, _ int64) {
		if target, ok := of.Value("grpc.target"); ok && target.AsString() != "other" {
			t.Errorf("%s is told of %s", name, target.AsString())
		}
	})
	s.shutdown()
	if told.Load() == 0 {
		t.Error("the panic was not told")
	}
}
