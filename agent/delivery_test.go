package agent_test

import (
	"context"
	"net/http"
	"slices"
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

// An endpoint given in code is the collector's: each signal is posted to its own path below it, whatever path of a
// signal it has.
func TestOwnPaths(t *testing.T) {
	newReports(t)
	for given, want := range map[string][]string{
		"": {"/v1/metrics", "/v1/traces"}, "/": {"/v1/metrics", "/v1/traces"},
		"/v1/traces": {"/v1/metrics", "/v1/traces"},
		"/tenant/":   {"/tenant/v1/metrics", "/tenant/v1/traces"},
	} {
		c := collect(t, "127.0.0.1:0")
		a, err := agent.Start(t.Context(), agent.WithOTLP(otlp.WithEndpointURL("http://"+c.address+given)))
		if err != nil {
			t.Fatal(err)
		}
		session(t, a, backend(t))
		shutdown(t, a)
		if have := c.posted(); !slices.Equal(have, want) {
			t.Errorf("with the endpoint's path %q, posts to %q, want %q", given, have, want)
		}
	}
}

// With an endpoint for one signal alone, the other is sent nowhere.
func TestOneEndpoint(t *testing.T) {
	newReports(t)
	for variable, want := range map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "/v1/traces", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "/v1/metrics",
	} {
		t.Run(want[4:], func(t *testing.T) {
			c := collect(t, "127.0.0.1:0")
			t.Setenv(variable, "http://"+c.address+want)
			a, err := agent.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			session(t, a, backend(t))
			shutdown(t, a)
			if have := c.posted(); !slices.Equal(have, []string{want}) {
				t.Errorf("posts to %q, want %q alone", have, want)
			}
		})
	}
}

// A report names the signal that was lost.
func TestReports(t *testing.T) {
	quickly(t)
	for name, want := range map[string]string{"TRACES": "lost", "METRICS": "an export of metrics failed"} {
		t.Run(name, func(t *testing.T) {
			reports := newReports(t)
			c := collect(t, "127.0.0.1:0")
			c.behave(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
			t.Setenv("OTEL_EXPORTER_OTLP_"+name+"_ENDPOINT", "http://"+c.address)
			a := start(t)
			session(t, a, backend(t))
			eventually(t, "a report", func() bool { return len(reports.own()) > 0 })
			err := reports.own()[0]
			if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "404") ||
				strings.Contains(err.Error(), "span") != (name == "TRACES") {
				t.Errorf("reported: %v, want %q", err, want)
			}
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
	eventually(t, "a report", func() bool { return len(reports.own()) > 0 })
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
