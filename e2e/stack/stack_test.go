// Package stack finds an outage again in a real OpenTelemetry Collector and a real Prometheus server. Run it by
// e2e/stack.sh, which builds both.
package stack

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/e2e/internal/loopback"
)

const patience = time.Minute

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// run runs a program that stack.sh built, until the test ends.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	program, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: e2e/stack.sh builds it", err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// It may have ended by itself, which its log shows.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			text, err := os.ReadFile(log.Name())
			t.Logf("%s said (%v):\n%s", name, err, text)
		}
	})
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	file = filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// answers reports whether a URL is answered with 200.
func answers(u string) bool {
	resp, err := http.Get(u)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close()) == nil && resp.StatusCode == http.StatusOK
}

func listens(address string) bool {
	c, err := net.Dial("tcp", address)
	return err == nil && c.Close() == nil
}

// collector is a running OpenTelemetry Collector, which writes what it gets to files.
type collector struct{ grpc, http, traces, metrics string }

func startCollector(t *testing.T) collector {
	t.Helper()
	dir := t.TempDir()
	c := collector{loopback.FreeAddress(t), loopback.FreeAddress(t),
		filepath.Join(dir, "traces.json"), filepath.Join(dir, "metrics.json")}
	run(t, "collector", "--config", write(t, "collector.yaml", fmt.Sprintf(`
receivers:
  otlp:
    protocols:
      grpc: {endpoint: %q}
      http: {endpoint: %q}
exporters:
  file/traces: {path: %q, flush_interval: 100ms}
  file/metrics: {path: %q, flush_interval: 100ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file/traces]}
    metrics: {receivers: [otlp], exporters: [file/metrics]}
`, c.grpc, c.http, c.traces, c.metrics)))
	eventually(t, "the collector", func() bool { return listens(c.grpc) && listens(c.http) })
	return c
}

// span is what the tests read of one.
type span struct {
	TraceID string `json:"traceId"`
	SpanID  string `json:"spanId"`
	Parent  string `json:"parentSpanId"`
	Name    string `json:"name"`
	Status  struct {
		Code int `json:"code"`
	} `json:"status"`
	attributes
}

// attributes are those of a span or point.
type attributes struct {
	Attributes []struct {
		Key   string `json:"key"`
		Value struct {
			String string `json:"stringValue"`
		} `json:"value"`
	} `json:"attributes"`
}

func (all attributes) attribute(key string) string {
	for _, a := range all.Attributes {
		if a.Key == key {
			return a.Value.String
		}
	}
	return ""
}

// lines hands each whole line of a file to a function.
func lines(t *testing.T, file string, handle func([]byte)) {
	t.Helper()
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return // Nothing was received yet.
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return // The last line is not whole yet.
		}
		handle(line)
	}
}

func (c collector) spans(t *testing.T) (all []span) {
	t.Helper()
	lines(t, c.traces, func(line []byte) {
		var batch struct {
			ResourceSpans []struct {
				ScopeSpans []struct {
					Spans []span `json:"spans"`
				} `json:"scopeSpans"`
			} `json:"resourceSpans"`
		}
		if err := json.Unmarshal(line, &batch); err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.ResourceSpans {
			for _, s := range r.ScopeSpans {
				all = append(all, s.Spans...)
			}
		}
	})
	return all
}

func (c collector) hasMetric(t *testing.T, name string) (found bool) {
	t.Helper()
	lines(t, c.metrics, func(line []byte) { found = found || strings.Contains(string(line), `"name":"`+name+`"`) })
	return found
}

// prometheus is the address of a running Prometheus server.
type prometheus string

func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	address := loopback.FreeAddress(t)
	run(t, "prometheus", "--web.listen-address="+address, "--storage.tsdb.path="+t.TempDir(),
		"--enable-feature=exemplar-storage", "--config.file="+write(t, "prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: redial
    static_configs: [{targets: [%q]}]
`, target)))
	eventually(t, "Prometheus", func() bool { return answers("http://" + address + "/-/ready") })
	return prometheus(address)
}

// ask asks the API, and reads the data of the answer.
func (p prometheus) ask(t *testing.T, path, query string, data any) {
	t.Helper()
	parameters := url.Values{
		"query": {query},
		"start": {fmt.Sprint(time.Now().Add(-time.Hour).Unix())},
		"end":   {fmt.Sprint(time.Now().Add(time.Minute).Unix())},
	}
	resp, err := http.Get("http://" + string(p) + "/api/v1/" + path + "?" + parameters.Encode())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	answer := struct {
		Data any `json:"data"`
	}{data}
	if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s (%v)", query, resp.Status, body, err)
	}
}

// value returns the sum of what a query finds, or "".
func (p prometheus) value(t *testing.T, query string) string {
	t.Helper()
	var found struct {
		Result []struct {
			Value [2]any `json:"value"`
		} `json:"result"`
	}
	p.ask(t, "query", "sum("+query+")", &found)
	if len(found.Result) == 0 {
		return ""
	}
	return fmt.Sprint(found.Result[0].Value[1])
}

// exemplars returns the trace ids of the exemplars that a query finds.
func (p prometheus) exemplars(t *testing.T, query string) (ids []string) {
	t.Helper()
	var series []struct {
		Exemplars []struct {
			Labels struct {
				TraceID string `json:"trace_id"`
			} `json:"labels"`
		} `json:"exemplars"`
	}
	p.ask(t, "query_exemplars", query, &series)
	for _, s := range series {
		for _, e := range s.Exemplars {
			ids = append(ids, e.Labels.TraceID)
		}
	}
	return ids
}

func call(cc *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	return err
}

func awaitState(t *testing.T, cc *grpc.ClientConn, want connectivity.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for have := cc.GetState(); have != want; have = cc.GetState() {
		if !cc.WaitForStateChange(ctx, have) {
			t.Fatalf("the channel stays %v", have)
		}
	}
}

// outage makes one: the server is stopped, an RPC waits, an attempt fails, the server is back.
func outage(t *testing.T, a *agent.Agent) {
	t.Helper()
	srv := loopback.Serve(t, "127.0.0.1:0")
	cc, err := a.NewClient(srv.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	if err := call(cc); err != nil {
		t.Fatal(err)
	}
	srv.Halt()
	awaitState(t, cc, connectivity.Idle)
	done := make(chan error, 1)
	go func() { done <- call(cc) }()
	awaitState(t, cc, connectivity.TransientFailure)
	defer loopback.Serve(t, srv.Address).Halt()
	if err := errors.Join(<-done, cc.Close()); err != nil {
		t.Fatal(err)
	}
}

// An outage is found again by query, in the collector and in Prometheus, and an exemplar leads from one to the other.
// Both protocols.
func TestOutageIsFoundAgain(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(strings.ReplaceAll(protocol, "/", "_"), func(t *testing.T) {
			c := startCollector(t)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+map[string]string{"grpc": c.grpc, "http/protobuf": c.http}[protocol])
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
			t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "200")
			a, err := agent.Start(t.Context(), agent.WithListen("127.0.0.1:0"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				if err := a.Shutdown(ctx); err != nil {
					t.Error(err)
				}
			}()
			p := startPrometheus(t, a.Addr().String())
			outage(t, a)

			var episode span
			eventually(t, "the trace of the outage in the collector", func() bool {
				spans := c.spans(t)
				i := slices.IndexFunc(spans, func(s span) bool {
					return s.Name == "grpc.connect" && s.attribute("redial.trigger") == "redial" &&
						s.attribute("redial.outcome") == "ready"
				})
				if i < 0 {
					return false
				}
				episode = spans[i]
				below := map[string]int{}
				for _, s := range spans {
					if s.Parent == episode.SpanID && s.TraceID == episode.TraceID {
						below[s.Name]++
					}
				}
				return below["grpc.connect.attempt"] >= 2 && below["grpc.connect.backoff"] == below["grpc.connect.attempt"]-1
			})
			for _, name := range []string{"redial.connect.duration", "redial.transport.duration", "grpc.subchannel.disconnections"} {
				eventually(t, name+" in the collector", func() bool { return c.hasMetric(t, name) })
			}
			const redialed = `redial_connect_duration_seconds_bucket{redial_trigger="redial"}`
			for query, want := range map[string]string{
				`redial_connect_duration_seconds_count{redial_trigger="redial",redial_outcome="ready"}`:          "1",
				`redial_transport_duration_seconds_count{redial_teardown_cause=~"peer_closed|connection_reset"}`: "1",
				`redial_pick_wait_duration_seconds_count{redial_outcome="picked"} > 0`:                           "",
				`redial_channels`: "0",
			} {
				eventually(t, query+" in Prometheus", func() bool {
					have := p.value(t, query)
					return have != "" && (want == "" || have == want)
				})
			}
			eventually(t, "an exemplar that leads to the trace", func() bool {
				return slices.Contains(p.exemplars(t, redialed), episode.TraceID)
			})
		})
	}
}
