package agent_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/otlp"
)

// quickly makes the SDK send at once.
func quickly(t *testing.T) {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
}

// endpoint makes the option that sends to a collector.
func endpoint(p otlp.Protocol, address string) agent.Option {
	return agent.WithOTLP(otlp.WithProtocol(p), otlp.WithEndpointURL("http://"+address))
}

var protocols = []otlp.Protocol{otlp.GRPC, otlp.HTTPProtobuf}

// Spans arrive by both protocols.
func TestDelivery(t *testing.T) {
	quickly(t)
	newReports(t)
	for _, p := range protocols {
		t.Run(strings.ReplaceAll(string(p), "/", "_"), func(t *testing.T) {
			c := collect(t, "127.0.0.1:0")
			a := start(t, endpoint(p, c.address))
			session(t, a, backend(t))
			for _, name := range []string{"grpc.resolve", "grpc.connect", "grpc.connect.attempt", "grpc.transport"} {
				eventually(t, name, func() bool { return c.count(name) == 1 })
			}
			shutdown(t, a) // Before the collector goes.
		})
	}
}

// Whatever the collector does, no RPC fails, Shutdown ends within its context, and nothing is left behind.
func TestFaultyCollector(t *testing.T) {
	quickly(t)
	faults := map[string]func(*collector) func(http.ResponseWriter, *http.Request){
		"Silent": func(c *collector) func(http.ResponseWriter, *http.Request) {
			return func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-c.stop:
				case <-r.Context().Done():
				}
			}
		},
		"Refusing": func(*collector) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		},
		"Garbage": func(*collector) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/x-protobuf")
				if _, err := w.Write([]byte("\xff\xfe garbage")); err != nil {
					return
				}
			}
		},
		"Down": nil,
	}
	for name, fault := range faults {
		for _, p := range protocols {
			t.Run(name+"_"+strings.ReplaceAll(string(p), "/", "_"), func(t *testing.T) {
				reports := newReports(t)
				address := freeAddress(t)
				if fault != nil {
					c := collect(t, "127.0.0.1:0")
					c.behave(fault(c))
					address = c.address
				}
				a, err := agent.Start(t.Context(), endpoint(p, address))
				if err != nil {
					t.Fatal(err)
				}
				to := backend(t)
				for range 5 {
					session(t, a, to)
				}
				const within = 300 * time.Millisecond
				ctx, cancel := context.WithTimeout(context.Background(), within)
				defer cancel()
				begin := time.Now()
				err = a.Shutdown(ctx)
				if took := time.Since(begin); took > within+10*time.Second {
					t.Errorf("Shutdown took %v with a context of %v (%v)", took, within, err)
				}
				if n := len(reports.own()); n > 2 {
					t.Errorf("%d reports within a minute, want one for spans and one for metrics: %v", n, reports.own())
				}
			})
		}
	}
}

// What finds no room is counted, and reported once and not for each span.
func TestFullQueue(t *testing.T) {
	quickly(t)
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
	reports := newReports(t)
	c := collect(t, "127.0.0.1:0")
	c.behave(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-c.stop:
		case <-r.Context().Done():
		}
	})
	a, err := agent.Start(t.Context(), endpoint(otlp.HTTPProtobuf, c.address))
	if err != nil {
		t.Fatal(err)
	}
	dead := freeAddress(t)
	for range 10 {
		failOnce(t, a, dead) // Of five spans each: resolve, connect, attempt, dial, backoff.
	}
	eventually(t, "a count of what is lost", func() bool {
		lines := metric(a, `redial_events_dropped_total{`)
		return len(lines) == 1 && strings.Contains(lines[0], `redial_sink="otlp"`) &&
			strings.HasSuffix(lines[0], "} 46")
	})
	if errs := reports.own(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "the queue is full") {
		t.Errorf("reported: %v", errs)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := a.Shutdown(ctx); err == nil {
		t.Error("Shutdown says that all was sent")
	}
}

// While the collector is away the queue keeps what it can hold, and all of it arrives when the collector is back:
// here an outage of the backend during an outage of the collector.
func TestCollectorComesBack(t *testing.T) {
	quickly(t)
	for _, p := range protocols {
		t.Run(strings.ReplaceAll(string(p), "/", "_"), func(t *testing.T) {
			newReports(t)
			address := freeAddress(t)
			a := start(t, endpoint(p, address))
			const outages = 20
			dead := freeAddress(t)
			for range outages {
				failOnce(t, a, dead)
			}
			c := collect(t, address)
			for _, name := range []string{
				"grpc.resolve", "grpc.connect", "grpc.connect.attempt", "grpc.connect.backoff",
			} {
				eventually(t, name, func() bool { return c.count(name) == outages })
			}
			if lost := metric(a, "redial_events_dropped"); len(lost) > 0 {
				t.Errorf("lost: %v", lost)
			}
			shutdown(t, a) // Before the collector goes.
		})
	}
}

// The exporter's own connection is not observed: it would report itself without end.
func TestNoFeedback(t *testing.T) {
	quickly(t)
	newReports(t)
	c := collect(t, "127.0.0.1:0")
	a := start(t, endpoint(otlp.GRPC, c.address))
	session(t, a, backend(t))
	eventually(t, "a transport's span", func() bool { return c.count("grpc.transport") == 1 })
	for _, e := range a.Events(agent.Query{Limit: 1000}) {
		if strings.Contains(e.Target, c.address) {
			t.Errorf("an event of the exporter's connection: %s", e.Line)
		}
	}
	shutdown(t, a) // Before the collector goes.
}
