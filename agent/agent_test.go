package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	promclient "github.com/prometheus/client_golang/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument/event"
)

// Without any setting nothing listens and nothing is sent, but the journal and the handler work.
func TestNoSurprise(t *testing.T) {
	reports := newReports(t)
	a := start(t)
	if a.Addr() != nil {
		t.Errorf("it listens on %v", a.Addr())
	}
	session(t, a, backend(t))
	eventually(t, "the end of a transport", ended(a))
	if lines := metric(a, "redial_transport_duration_seconds_count"); len(lines) != 1 {
		t.Errorf("the handler serves %v", lines)
	}
	if errs := reports.all(); len(errs) > 0 {
		t.Errorf("reported: %v", errs)
	}
}

// All the ways to make a channel.
func TestWaysToDial(t *testing.T) {
	a := start(t)
	to := backend(t)
	secure := grpc.WithTransportCredentials(insecure.NewCredentials())
	for name, dial := range map[string]func() (*grpc.ClientConn, error){
		"NewClient":   func() (*grpc.ClientConn, error) { return a.NewClient(to, secure) },
		"Dial":        func() (*grpc.ClientConn, error) { return a.Dial(to, secure) },
		"DialContext": func() (*grpc.ClientConn, error) { return a.DialContext(t.Context(), to, secure) },
		"DialOption":  func() (*grpc.ClientConn, error) { return grpc.NewClient(to, secure, a.DialOption()) },
		"Dialer": func() (*grpc.ClientConn, error) {
			return a.NewClient(to, secure, grpc.WithContextDialer(a.Dialer(nil)))
		},
	} {
		before := len(a.Events(agent.Query{Kind: event.KindReady}))
		cc, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		call(t, cc)
		eventually(t, name+" to be observed", func() bool {
			return len(a.Events(agent.Query{Kind: event.KindReady})) == before+1
		})
		if err := cc.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestListen(t *testing.T) {
	t.Setenv("REDIAL_LISTEN", ":0")
	a := start(t)
	if !a.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("it listens on %v, want 127.0.0.1 where no address is named", a.Addr())
	}
	defer http.DefaultClient.CloseIdleConnections()
	for path, want := range map[string]string{
		"/healthz": "ok", "/metrics": "redial_build_info", "/debug/redial/api/v1/channels": `"channels":[]`,
	} {
		resp, err := http.Get("http://" + a.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || !strings.Contains(string(body), want) || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s %s (%v)", path, resp.Status, body, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := agent.Start(t.Context(), agent.WithListen(a.Addr().String()))
	if want := fmt.Sprintf("listen on %q", a.Addr()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a port that is taken: %v, want %q", err, want)
	}
}

// Shutdown closes the port and empties the registry, so that another agent may take both. Two at once must not.
func TestStartAgain(t *testing.T) {
	registry := promclient.NewRegistry()
	address := freeAddress(t)
	for range 3 {
		a, err := agent.Start(t.Context(), agent.WithRegistry(registry), agent.WithListen(address))
		if err != nil {
			t.Fatal(err)
		}
		_, err = agent.Start(t.Context(), agent.WithRegistry(registry))
		if err == nil || !strings.Contains(err.Error(), "Prometheus registry") {
			t.Errorf("a second agent with the same registry: %v", err)
		}
		shutdown(t, a)
		shutdown(t, a) // A second call does no harm.
		if families, err := registry.Gather(); err != nil || len(families) > 0 {
			t.Errorf("after Shutdown the registry has %d families (%v)", len(families), err)
		}
		if code := get(a.Handler(), "/healthz").Code; code != http.StatusServiceUnavailable {
			t.Errorf("after Shutdown /healthz answers %d", code)
		}
	}
}

// Two agents in one process: a channel of each is observed by its own, one of both by both.
func TestTwoAgents(t *testing.T) {
	one, two := start(t), start(t)
	to := backend(t)
	session(t, one, to)
	cc := dial(t, one, to, two.DialOption())
	call(t, cc)
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
	query := agent.Query{Kind: event.KindTeardown}
	eventually(t, "the ends of the transports", func() bool {
		return len(one.Events(query)) == 2 && len(two.Events(query)) == 1
	})
}

// A failed Start leaves nothing behind: the port is free again. (That no goroutine is left, TestMain holds.)
func TestFailedStart(t *testing.T) {
	address := freeAddress(t)
	registry := promclient.NewRegistry()
	if err := registry.Register(promclient.NewGauge(promclient.GaugeOpts{
		Name: "redial_build_info", Help: "The version of redial that makes these metrics.",
		ConstLabels: promclient.Labels{"version": "0.1.0"},
	})); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Start(t.Context(), agent.WithListen(address), agent.WithRegistry(registry)); err == nil {
		t.Fatal("Start says nothing of a registry that has the metrics already")
	}
	lis, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Error(err)
	}
}

// A user's own providers get everything, and are not shut down.
func TestOwnProviders(t *testing.T) {
	recorder, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	a, err := agent.Start(t.Context(), agent.WithTracerProvider(tracer), agent.WithMeterProvider(meter))
	if err != nil {
		t.Fatal(err)
	}
	session(t, a, backend(t))
	shutdown(t, a)
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &rm); err != nil || len(rm.ScopeMetrics) != 1 {
		t.Errorf("%d scopes of metrics (%v)", len(rm.ScopeMetrics), err)
	}
	if len(recorder.Ended()) == 0 {
		t.Error("no spans")
	}
	if _, span := tracer.Tracer("mine").Start(t.Context(), "after"); !span.IsRecording() {
		t.Error("the user's provider was shut down")
	}
	if code := get(a.Handler(), "/metrics").Code; code != http.StatusNotFound {
		t.Errorf("/metrics answers %d where the agent has no metrics", code)
	}
}

// With OTEL_SDK_DISABLED there are no spans and metrics, and RPCs work.
func TestDisabled(t *testing.T) {
	t.Setenv("OTEL_SDK_DISABLED", "TRUE")
	c := collect(t, "127.0.0.1:0")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+c.address)
	a, err := agent.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session(t, a, backend(t))
	if lines := metric(a, "redial_connect"); len(lines) > 0 {
		t.Errorf("metrics: %v", lines)
	}
	shutdown(t, a)
	if c.raw.Len() > 0 {
		t.Error("something was sent")
	}
}

// The environment alone points the agent at a collector, and describes the service.
func TestEnvironment(t *testing.T) {
	quickly(t)
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		c := collect(t, "127.0.0.1:0")
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+c.address)
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
		t.Setenv("OTEL_SERVICE_NAME", "checkout")
		t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
		a, err := agent.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		session(t, a, backend(t))
		info := strings.Join(metric(a, "target_info"), "\n")
		shutdown(t, a)
		if c.count("grpc.connect") != 1 {
			t.Errorf("%s: the collector has %v", protocol, c.spans)
		}
		for _, want := range []string{`service_name="checkout"`, `deployment_environment_name="test"`} {
			if !strings.Contains(info, want) {
				t.Errorf("%s: no %s in %s", protocol, want, info)
			}
		}
	}
}

var exemplar = regexp.MustCompile(`redial_connect_duration_seconds_bucket\{.*\} 1 # \{.*trace_id="([0-9a-f]{32})"`)

// OpenMetrics carries the trace id of the episode, which the journal knows too.
func TestExemplar(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	a := start(t, agent.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))))
	session(t, a, backend(t))
	eventually(t, "the transport's end", ended(a))
	body := get(a.Handler(), "/metrics", "Accept", "application/openmetrics-text").Body.String()
	match := exemplar.FindStringSubmatch(body)
	if match == nil {
		t.Fatalf("no exemplar in\n%s", body)
	}
	connect := a.Events(agent.Query{Kind: event.KindConnect})
	if len(connect) != 2 || !strings.Contains(string(connect[1].Line), `"trace_id":"`+match[1]+`"`) {
		t.Errorf("the exemplar's trace %s is not that of the journal's %d events", match[1], len(connect))
	}
}

// Native histograms are served by protobuf.
func TestPrometheusOptions(t *testing.T) {
	registry := promclient.NewRegistry()
	a := start(t, agent.WithRegistry(registry),
		agent.WithPrometheus(prometheus.WithNativeHistograms()),
		agent.WithPrometheus(prometheus.WithGoCollector(), prometheus.WithProcessCollector()))
	session(t, a, backend(t))
	eventually(t, "the transport's end", ended(a))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		found[f.GetName()] = true
		if f.GetName() == "redial_connect_duration_seconds" && f.GetMetric()[0].GetHistogram().GetSchema() == 0 &&
			len(f.GetMetric()[0].GetHistogram().GetPositiveSpan()) == 0 {
			t.Error("the histogram is not native")
		}
	}
	for _, name := range []string{
		"redial_connect_duration_seconds", "go_goroutines", "process_open_fds", "target_info",
	} {
		if !found[name] {
			t.Errorf("no %s", name)
		}
	}
}

// A panic in a sink of the user's reaches nobody but otel.Handle.
func TestPanickingSink(t *testing.T) {
	reports := newReports(t)
	a := start(t, agent.WithLogger(panicking{slog.DiscardHandler}))
	session(t, a, backend(t))
	eventually(t, "a report", func() bool {
		errs := reports.own()
		return len(errs) > 0 && strings.Contains(errs[0].Error(), "a sink panicked")
	})
}

type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool  { return true }
func (panicking) Handle(context.Context, slog.Record) error { panic("a logger's fault") }

// Events as log records, with the level that a person would choose.
func TestLogger(t *testing.T) {
	levels := map[string]slog.Level{} // The highest of each kind.
	records := make(chan slog.Record, 1000)
	a := start(t, agent.WithLogger(recording{slog.DiscardHandler, records}))
	failOnce(t, a, freeAddress(t))
	session(t, a, backend(t))
	eventually(t, "the transport's end", ended(a))
	shutdown(t, a)
	close(records)
	for r := range records {
		r.Attrs(func(attr slog.Attr) bool {
			kind := attr.Value.String()
			if highest, known := levels[kind]; attr.Key == "kind" && (!known || r.Level > highest) {
				levels[kind] = r.Level
			}
			return true
		})
	}
	for kind, want := range map[string]slog.Level{
		"attempt": slog.LevelWarn, "ready": slog.LevelInfo, "teardown": slog.LevelInfo,
		"phase": slog.LevelDebug, "state": slog.LevelDebug,
	} {
		if have, logged := levels[kind]; !logged || have != want {
			t.Errorf("%s is logged as %v (%v), want %v", kind, have, logged, want)
		}
	}
}

type recording struct {
	slog.Handler
	records chan<- slog.Record
}

func (recording) Enabled(context.Context, slog.Level) bool { return true }
func (h recording) Handle(_ context.Context, r slog.Record) error {
	h.records <- r
	return nil
}

// ended reports whether one transport has ended.
func ended(a *agent.Agent) func() bool {
	return func() bool {
		return slices.ContainsFunc(a.Events(agent.Query{Kind: event.KindTeardown}), func(e agent.Entry) bool {
			return strings.Contains(string(e.Line), `"event":"transport.ended"`)
		})
	}
}

// line is what the tests read of an event.
type line struct {
	Seq    uint64     `json:"seq"`
	Kind   event.Kind `json:"kind"`
	Target string     `json:"grpc.target"`
}

func events(t *testing.T, a *agent.Agent, query string) (next uint64, lines []line) {
	t.Helper()
	w := get(a.Handler(), "/debug/redial/api/v1/events?"+query)
	var page struct {
		Next   uint64 `json:"next"`
		Events []line `json:"events"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s (%v)", query, w.Code, w.Body, err)
	}
	return page.Next, page.Events
}
