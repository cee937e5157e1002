// Package dashboards_test holds what redial's dashboards, recording rules and alerts show against what was played:
// a real Prometheus gets the metrics of real clients in every way in which metrics arrive. Run it by e2e/stack.sh,
// which builds Prometheus.
package dashboards_test

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/dashboards"
	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/e2e/internal/prom"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
)

// ways are those in which metrics arrive, by the job that they have in Prometheus.
var ways = []string{"scraped", "native", "otlp", "collector"}

// anything is a target that chooses all.
const anything = ".+"

// stage is a Prometheus that gets the metrics of all agents, and the client that they observe.
type stage struct {
	*prom.Server
	play
	begin time.Time
	fired map[string]bool // The alerts that fired, by name.
}

func newStage(t *testing.T) *stage {
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "1000")
	scraped := startAgent(t, agent.WithListen("127.0.0.1:0"))
	native := startAgent(t, agent.WithListen("127.0.0.1:0"), agent.WithPrometheus(prometheus.WithNativeHistograms()))
	s := &stage{Server: prom.Start(t, fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: %s}
rule_files: [%q]
otlp: {promote_scope_metadata: true}
scrape_configs:
  - {job_name: scraped, static_configs: [{targets: [%q]}]}
  - {job_name: native, scrape_native_histograms: true, static_configs: [{targets: [%q]}]}
`, minute, rules(t), scraped.Addr(), native.Addr()), "--web.enable-otlp-receiver", "--enable-feature=exemplar-storage")}
	toPrometheus := "http://" + s.Address + "/api/v1/otlp"
	pushed := sender(t, "otlp", toPrometheus)
	collected := sender(t, "collector", "http://"+startCollector(t, toPrometheus))
	s.play = play{t, []grpc.DialOption{
		scraped.DialOption(), native.DialOption(), pushed.DialOption(), collected.DialOption(),
	}}
	s.begin, s.fired = time.Now(), map[string]bool{}
	return s
}

// sender is an agent of a service that sends OTLP.
func sender(t *testing.T, service, endpoint string) *agent.Agent {
	t.Helper()
	return startAgent(t, agent.WithOTLP(otlp.WithProtocol(otlp.HTTPProtobuf), otlp.WithEndpointURL(endpoint)),
		agent.WithResource(resource.NewSchemaless(attribute.String("service.name", service))))
}

// startCollector runs a Collector that hands metrics on to Prometheus, and returns its address.
func startCollector(t *testing.T, to string) string {
	t.Helper()
	address, file := loopback.FreeAddress(t), filepath.Join(t.TempDir(), "collector.yaml")
	config := fmt.Sprintf(`
receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
exporters: {otlphttp: {endpoint: %q}}
service:
  telemetry: {metrics: {level: none}}
  pipelines: {metrics: {receivers: [otlp], exporters: [otlphttp]}}
`, address, to)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(prom.Program(t, "collector"), "--config", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself, which the test notices.
		_ = cmd.Wait()
	})
	return address
}

func startAgent(t *testing.T, opts ...agent.Option) *agent.Agent {
	t.Helper()
	a, err := agent.Start(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = a.Shutdown(ctx) // Prometheus takes no traces, so that some are given up.
	})
	return a
}

// rules writes the rules with shorter minutes, and returns the pattern of their files.
func rules(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"recording.yaml", "alerts.yaml"} {
		text, err := dashboards.FS.ReadFile("rules/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(quick(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "*.yaml")
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
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

// ask evaluates a query of a dashboard over the play so far, as Grafana does.
func (s *stage) ask(q query, job, target string) []prom.Series {
	s.t.Helper()
	now := time.Now()
	expr := q.filled(job, target, now.Sub(s.begin))
	var found []prom.Series
	var err error
	if q.instant {
		found, err = s.Query(expr, now)
	} else {
		found, err = s.QueryRange(expr, s.begin, now, minute)
	}
	if err != nil {
		s.t.Errorf("%s by %s: %v", q, job, err)
	}
	return found
}

// firing reports whether an alert fires for a target, seen in one way.
func (s *stage) firing(name, job, target string) bool {
	s.t.Helper()
	var found struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := s.Get("alerts", url.Values{}, &found); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range found.Alerts {
		if a.Labels["alertname"] == name && a.State == "firing" && a.Labels["job"] == job &&
			strings.Contains(a.Labels["grpc_target"], target) {
			return true
		}
	}
	return false
}

// fires waits until an alert fires for a target, in each way or in those that are named.
func (s *stage) fires(name, target string, by ...string) {
	s.t.Helper()
	s.fired[name] = true
	if len(by) == 0 {
		by = ways
	}
	for _, job := range by {
		eventually(s.t, name+" of "+target+" by "+job, func() bool { return s.firing(name, job, target) })
	}
}

// What the dashboards, rules and alerts show is what was played.
func TestShowsWhatWasPlayed(t *testing.T) {
	s := newStage(t)
	all, variables := queries(t)

	cart := loopback.Serve(t, "127.0.0.1:0")
	c := s.plain(cart.Address)
	target := c.CanonicalTarget()
	for _, job := range ways {
		eventually(t, "metrics by "+job, func() bool {
			found, err := s.Query(fmt.Sprintf(
				`redial_channels{job=%q} offset %ds and on () redial:rules:loaded`, job, 11*int(minute.Seconds())), time.Now())
			return err == nil && len(found) > 0
		})
	}
	s.healthy(all, variables)

	expired, expiring := s.certified(time.Now().Add(-time.Hour)), s.certified(time.Now().Add(72*time.Hour))
	expired.Connect()
	expiring.call()
	patient, half := s.patient(), s.half()
	s.unhealthy()
	s.tooManyPings()
	s.names()
	limited := s.streamLimit()
	goaway, stalled := s.goAways(), s.stalled()
	for range killed {
		c.watch()
	}
	cart.Halt()
	c.await(connectivity.TransientFailure)
	for range refused {
		if _, err := healthpb.NewHealthClient(c).Check(context.Background(), &healthpb.HealthCheckRequest{}); err == nil {
			t.Fatal("an RPC was answered by a server that is down")
		}
	}
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		_, _ = healthpb.NewHealthClient(c).Check(context.Background(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	}()
	s.fires("RedialRPCsKilled", target)
	s.fires("RedialTargetDisconnected", target)
	s.fires("RedialHandshakeFailing", expired.CanonicalTarget())
	s.fires("RedialCertificateExpiring", expiring.CanonicalTarget())
	s.fires("RedialNameResolutionFailing", "failing:///stock")
	s.fires("RedialNameResolutionFailing", "silent:///stock")
	s.fires("RedialConnectionStalled", stalled)
	s.fires("RedialTooManyPings", "")
	s.fires("RedialStreamLimitReached", limited)

	cart = loopback.Serve(t, cart.Address)
	c.ResetConnectBackoff()
	c.await(connectivity.Ready)
	<-waiting
	s.agrees(all, target, goaway, stalled)
	for !s.firing("RedialStorm", ways[0], target) { // It flaps.
		cart.Halt()
		c.await(connectivity.TransientFailure)
		cart = loopback.Serve(t, cart.Address)
		c.ResetConnectBackoff()
		c.await(connectivity.Ready)
	}
	s.fires("RedialStorm", target)
	s.fires("RedialEndpointDisconnected", half)
	s.fires("RedialWaitBudgetBurnsFast", patient)
	s.fires("RedialWaitBudgetBurnsSlowly", patient)
	s.fires("RedialExportFailing", "", "otlp", "collector") // Nobody takes their spans.
	s.fires("RedialAgentDropping", "", "otlp", "collector")
	defer cart.Halt()
	s.everything(all, variables)
}

// healthy is how the dashboards are when nothing has happened: no query fails, and no panel shows what is not there.
func (s *stage) healthy(all []query, variables []string) {
	s.asExpected(all, false)
	for _, v := range variables {
		s.variable(v)
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// variable asks for the values of a variable.
func (s *stage) variable(text string) {
	s.t.Helper()
	inside := strings.TrimSuffix(strings.TrimPrefix(text, "label_values("), ")")
	i := strings.LastIndex(inside, ", ")
	selector := strings.NewReplacer("$job", anything, "$instance", anything).Replace(inside[:i])
	var values []string
	if err := s.Get("label/"+inside[i+2:]+"/values", url.Values{"match[]": {selector}}, &values); err != nil || len(values) == 0 {
		s.t.Errorf("%s: %v (%v)", text, values, err)
	}
}

// find returns the query of a panel.
func find(t *testing.T, all []query, dashboard, panel, ref string) query {
	t.Helper()
	for _, q := range all {
		if q.dashboard == dashboard && q.panel == panel && q.ref == ref {
			return q
		}
	}
	t.Fatalf("%s has no panel %q with the query %s", dashboard, panel, ref)
	return query{}
}

// agrees compares what panels show with what was played, in every way in which it arrived.
func (s *stage) agrees(all []query, cart, goaway, stalled string) {
	const target = "target.json"
	sum := func(series []prom.Series, label, value string) (sum float64) {
		for _, one := range series {
			if label != "" && one.Metric[label] != value {
				continue
			}
			sum += one.Value.Value
			for _, p := range one.Values {
				sum += p.Value
			}
		}
		return sum
	}
	highest := func(series []prom.Series) (highest float64) {
		for _, one := range series {
			for _, p := range one.Values {
				highest = math.Max(highest, p.Value)
			}
		}
		return highest
	}
	for _, job := range ways {
		show := func(dashboard, panel, ref, target string) []prom.Series {
			return s.ask(find(s.t, all, dashboard, panel, ref), job, target)
		}
		for _, c := range []struct {
			what string
			have func() float64
			want float64
		}{
			{"GOAWAYs", func() float64 {
				return sum(show(target, "Connections lost, by cause", "A", goaway), "redial_teardown_cause", "goaway")
			}, goaways},
			{"connections lost of the server that said GOAWAY", func() float64 {
				return sum(show("overview.json", "Connections lost", "A", goaway), "", "")
			}, goaways},
			{"RPCs killed", func() float64 {
				return sum(show(target, "RPCs refused and killed", "B", cart), "", "")
			}, killed},
			{"RPCs refused", func() float64 {
				return sum(show(target, "RPCs refused and killed", "A", cart), "", "")
			}, refused},
			{"RPCs refused or killed", func() float64 {
				return sum(show("overview.json", "RPCs refused or killed", "A", cart), "", "")
			}, killed + refused},
			{"stalled connections at the most", func() float64 {
				return highest(show("overview.json", "Stalled connections", "A", stalled))
			}, 1},
			{"endpoints without a connection at the most", func() float64 {
				return highest(show("overview.json", "Endpoints without a connection", "A", cart))
			}, 1},
		} {
			var have float64
			deadline := time.Now().Add(20 * time.Second)
			for have < c.want && time.Now().Before(deadline) {
				have = c.have() // Until the last of it has arrived.
			}
			if have != c.want {
				s.t.Errorf("%s by %s: the dashboard shows %v, played were %v", c.what, job, have, c.want)
			}
		}
		if age := highest(show("overview.json", "Longest outage now", "A", cart)); age < 30 {
			s.t.Errorf("the outage lasted %v s by %s, want 30 at least", age, job)
		}
	}
}

// everything asks all that can be asked once all was played: no query fails, each finds something, and each rule is
// in order. Each alert has fired, or is listed among those that do not.
func (s *stage) everything(all []query, variables []string) {
	s.asExpected(all, true)
	for _, v := range variables {
		s.variable(v)
	}
	var found struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError, Type string }
		}
	}
	if err := s.Get("rules", url.Values{}, &found); err != nil {
		s.t.Fatal(err)
	}
	for _, g := range found.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				s.t.Errorf("rule %s is %s: %s", r.Name, r.Health, r.LastError)
			}
			if _, listed := onlyTested[r.Name]; r.Type == "alerting" && s.fired[r.Name] == listed {
				s.t.Errorf("alert %s: played %t, listed as one that is not played %t", r.Name, s.fired[r.Name], listed)
			}
			if series, err := s.Query(r.Name, time.Now()); r.Type == "recording" && (err != nil || len(series) == 0) {
				s.t.Errorf("rule %s records nothing (%v)", r.Name, err)
			}
		}
	}
}
