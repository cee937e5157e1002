package instrument_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/grpclog"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

var update = flag.Bool("update", false, "write testdata/scenarios anew from what is recorded")

// golden ends the test and compares its spans and metrics with testdata/scenarios/<test>.txt. There, names stand
// for addresses, "*" for what differs between two runs, "a|b" for what ends in one of two ways, and "redial." is left
// out of attributes.
func (env *environment) golden() {
	env.t.Helper()
	env.closeAll()
	env.awaitPassedOn()
	metrics := env.renderMetrics()
	env.shutdown()
	have := []byte("spans\n" + env.renderSpans() + "\nmetrics\n" + metrics)
	name := strings.ReplaceAll(strings.TrimPrefix(env.t.Name(), "Test"), "/", "_")
	file := filepath.Join("testdata", "scenarios", name+".txt")
	if *update {
		if err := os.WriteFile(file, have, 0o644); err != nil {
			env.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		env.t.Fatalf("no expectation (run with -update and read it): %v", err)
	}
	if !bytes.Equal(have, want) {
		env.t.Errorf("%s differs.\n--- want\n%s\n--- have\n%s\n--- events\n%s", file, want, have, env.eventText())
	}
}

func (env *environment) shutdown() {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := env.handler.Shutdown(ctx); err != nil {
		env.t.Errorf("Shutdown: %v", err)
	}
}

// renderSpans draws redial's spans: roots by name, server and start (policies connect in any order), children below
// their parents. Spans of others are left out but for their names where a wait is below them.
func (env *environment) renderSpans() string {
	r := spanRenderer{env: env, children: map[trace.SpanID][]sdktrace.ReadOnlySpan{}, labels: map[trace.SpanID]string{}}
	if open := len(env.spans.Started()) - len(env.spans.Ended()); open != 0 {
		env.t.Errorf("%d spans were never ended", open)
	}
	var roots []sdktrace.ReadOnlySpan
	all := env.spans.Ended()
	byID := map[trace.SpanID]sdktrace.ReadOnlySpan{}
	for _, span := range all {
		byID[span.SpanContext().SpanID()] = span
	}
	for _, span := range all {
		if _, known := byID[span.Parent().SpanID()]; known {
			r.children[span.Parent().SpanID()] = append(r.children[span.Parent().SpanID()], span)
		} else {
			roots = append(roots, span)
		}
	}
	order := []string{"grpc.resolve", "grpc.connect", "grpc.transport"}
	rank := func(span sdktrace.ReadOnlySpan) int {
		if i := slices.Index(order, span.Name()); i >= 0 {
			return i
		}
		return len(order)
	}
	sort.SliceStable(roots, func(i, j int) bool {
		if a, b := rank(roots[i]), rank(roots[j]); a != b {
			return a < b
		}
		if a, b := r.server(roots[i]), r.server(roots[j]); a != b {
			return a < b
		}
		return roots[i].StartTime().Before(roots[j].StartTime())
	})
	count := map[string]int{}
	for _, span := range roots {
		count[span.Name()]++
		name := strings.TrimPrefix(span.Name(), "grpc.")
		r.labels[span.SpanContext().SpanID()] = fmt.Sprintf("%s/%d", name, count[span.Name()])
	}
	for _, span := range roots {
		r.draw(span, 0)
	}
	return r.text.String()
}

type spanRenderer struct {
	env      *environment
	text     strings.Builder
	children map[trace.SpanID][]sdktrace.ReadOnlySpan
	labels   map[trace.SpanID]string
}

// server names the server of a span, or of the first of its children.
func (r *spanRenderer) server(span sdktrace.ReadOnlySpan) string {
	for _, part := range r.env.renderAttributes(span.Attributes()) {
		if name, ok := strings.CutPrefix(part, "server.address="); ok {
			return name
		}
	}
	below := r.below(span)
	if len(below) == 0 {
		return ""
	}
	return r.server(below[0])
}

// below returns a span's children in the order of their start.
func (r *spanRenderer) below(span sdktrace.ReadOnlySpan) []sdktrace.ReadOnlySpan {
	below := r.children[span.SpanContext().SpanID()]
	sort.SliceStable(below, func(i, j int) bool { return below[i].StartTime().Before(below[j].StartTime()) })
	return below
}

func (r *spanRenderer) draw(span sdktrace.ReadOnlySpan, depth int) {
	r.check(span)
	parts := []string{strings.Repeat("  ", depth) + span.Name()}
	if label := r.labels[span.SpanContext().SpanID()]; label != "" {
		parts[0] += strings.TrimPrefix(label, strings.TrimPrefix(span.Name(), "grpc."))
	}
	if span.SpanKind() != trace.SpanKindInternal {
		parts = append(parts, span.SpanKind().String())
	}
	for _, link := range span.Links() {
		label, ok := r.labels[link.SpanContext.SpanID()]
		if !ok {
			r.env.t.Errorf("%s links to an unknown span", span.Name())
		}
		parts = append(parts, "-> "+label)
	}
	parts = append(parts, r.env.renderAttributes(span.Attributes())...)
	if st := span.Status(); st.Code != codes.Unset {
		parts = append(parts, strings.ToLower(st.Code.String()))
	}
	fmt.Fprintln(&r.text, strings.Join(parts, " "))
	for _, e := range span.Events() {
		line := append([]string{strings.Repeat("  ", depth+1) + "! " + e.Name}, r.env.renderAttributes(e.Attributes)...)
		fmt.Fprintln(&r.text, strings.Join(line, " "))
	}
	for _, child := range r.below(span) {
		if child.StartTime().Before(span.StartTime()) {
			r.env.t.Errorf("%s starts before its parent %s", child.Name(), span.Name())
		}
		r.draw(child, depth+1)
	}
}

// check holds what every span of redial's must have.
func (r *spanRenderer) check(span sdktrace.ReadOnlySpan) {
	t := r.env.t
	if span.EndTime().Before(span.StartTime()) {
		t.Errorf("%s ends before it starts", span.Name())
	}
	scope := span.InstrumentationScope()
	if scope.Name != instrument.ScopeName {
		return
	}
	if scope.Version != instrument.Version || scope.SchemaURL != semconv.SchemaURL {
		t.Errorf("%s has the scope %+v", span.Name(), scope)
	}
	for _, want := range []attribute.Key{"rpc.system.name", "grpc.target", "redial.channel.id"} {
		if want == "redial.channel.id" && span.Name() == "grpc.resolve" {
			continue // gRPC gives the id to policies alone, and there may be none that is observed yet.
		}
		if !slices.ContainsFunc(span.Attributes(), func(kv attribute.KeyValue) bool { return kv.Key == want }) {
			t.Errorf("%s has no %s", span.Name(), want)
		}
	}
}

// silent are attributes that every span has, or that come as part of another.
var silent = []attribute.Key{
	"rpc.system.name", "grpc.target", "redial.channel.id", "redial.subchannel.id",
	"server.port", "network.peer.port", "network.local.port", "redial.proxy.port",
	"grpc.security_level", // gRPC reads it from a connection that may be gone already.
}

// unsteady are attributes whose value differs between runs: that they are there is what counts.
var unsteady = []attribute.Key{
	"redial.backoff.delay", "redial.tcp.rtt", "redial.tcp.idle", "redial.tcp.retransmits",
	"redial.tcp.send_idle", "redial.tcp.ack_idle", "redial.tcp.unacked",
	"network.local.address",
	"tls.server.not_after",
}

// stopped maps the two ways in which connections of a stopped server end to one.
var stopped = map[string]string{
	"peer_closed": "peer_closed|connection_reset", "connection_reset": "peer_closed|connection_reset",
	"unknown": "unknown|connection reset", "connection reset": "unknown|connection reset",
	"CLOSE_WAIT": "CLOSE_WAIT|CLOSE", "CLOSE": "CLOSE_WAIT|CLOSE",
}

func (env *environment) renderAttributes(kvs []attribute.KeyValue) (parts []string) {
	values := map[attribute.Key]string{}
	for _, kv := range kvs {
		values[kv.Key] = kv.Value.String()
	}
	for _, kv := range kvs {
		if slices.Contains(silent, kv.Key) {
			continue
		}
		value := values[kv.Key]
		switch {
		case slices.Contains(unsteady, kv.Key):
			value = "*"
		case kv.Key == "redial.transport.rpcs" && env.anyOne:
			value = "*"
		case kv.Key == "redial.backoff.total" && value != "0":
			value = "*"
		case kv.Key == "server.address":
			value = env.nameOf(value, values["server.port"])
		case kv.Key == "network.peer.address":
			value = env.nameOf(value, values["network.peer.port"])
		case kv.Key == "redial.proxy.address":
			value = env.nameOf(value, values["redial.proxy.port"])
		}
		if either, ok := stopped[value]; ok && env.abrupt {
			value = either
		}
		if strings.ContainsAny(value, " ") {
			value = strconv.Quote(value)
		}
		parts = append(parts, strings.TrimPrefix(string(kv.Key), "redial.")+"="+value)
	}
	slices.Sort(parts)
	return parts
}

func (env *environment) nameOf(host, port string) string {
	address := host
	if port != "" {
		address = net.JoinHostPort(host, port)
	}
	env.mu.Lock()
	defer env.mu.Unlock()
	if name, ok := env.names[address]; ok {
		return name
	}
	return address
}

// awaitPassedOn waits until gRPC has counted in its own metrics each connection that was reported as READY: it does
// so a little later, and maybe after it counted the connection's end.
func (env *environment) awaitPassedOn() {
	env.t.Helper()
	want := int64(env.unseen)
	for _, e := range env.recorded() {
		if _, ok := e.(event.TransportReady); ok {
			want++
		}
	}
	const family = "grpc.subchannel."
	deadline := time.Now().Add(patience)
	for {
		sums := map[string]int64{}
		for key, value := range env.collect() {
			name, _, _ := strings.Cut(key, " ")
			sums[name] += value
		}
		succeeded := sums[family+"connection_attempts_succeeded"]
		if succeeded >= want && succeeded-sums[family+"disconnections"] == sums[family+"open_connections"] {
			return
		}
		if time.Now().After(deadline) {
			env.t.Fatalf("waited %v for gRPC to count %d connections; it counts %v", patience, want, sums)
		}
		runtime.Gosched()
	}
}

// renderMetrics lists every series with its value: the count of a histogram.
func (env *environment) renderMetrics() string {
	env.t.Helper()
	series := env.collect()
	var lines strings.Builder
	for _, key := range slices.Sorted(maps.Keys(series)) {
		fmt.Fprintf(&lines, "%s: %d\n", key, series[key])
	}
	return lines.String()
}

// collect returns the value of every series; those that only differ in what is not shown become one.
func (env *environment) collect() map[string]int64 {
	env.t.Helper()
	series := map[string]int64{}
	env.eachSeries(func(name string, of attribute.Set, value int64) {
		series[strings.Join(append([]string{name}, env.renderAttributes(of.ToSlice())...), " ")] += value
	})
	return series
}

// eachSeries calls a function with each time series and its value; that of a histogram is its count.
func (env *environment) eachSeries(call func(name string, of attribute.Set, value int64)) {
	env.t.Helper()
	var rm metricdata.ResourceMetrics
	if err := env.metrics.Collect(context.Background(), &rm); err != nil {
		env.t.Fatal(err)
	}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					call(m.Name, p.Attributes, int64(p.Count))
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					call(m.Name, p.Attributes, int64(p.Count))
				}
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					call(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					call(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					call(m.Name, p.Attributes, shown(p.Value))
				}
			default:
				env.t.Errorf("%s: unexpected %T", m.Name, data)
			}
		}
	}
}

// shown is 1 for a point in time, which differs between runs, and whole seconds for an age.
func shown(seconds float64) int64 {
	if seconds > 1e9 {
		return 1
	}
	return int64(seconds)
}

func typeName(v any) string { return strings.TrimPrefix(fmt.Sprintf("%T", v), "event.") }

func TestMain(m *testing.M) {
	flag.Parse()
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)) // gRPC logs GOAWAYs that are made here.
	os.Exit(m.Run())
}

// only returns the one ended span of a name.
func (env *environment) only(name string) sdktrace.ReadOnlySpan {
	env.t.Helper()
	var found []sdktrace.ReadOnlySpan
	for _, span := range env.spans.Ended() {
		if span.Name() == name {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		env.t.Fatalf("%d spans %s, want one", len(found), name)
	}
	return found[0]
}
