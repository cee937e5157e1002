package dashboards_test

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/e2e/internal/loopback"
	"github.com/redial-dev/redial/e2e/internal/prom"
)

var instances = flag.Int("instances", 20, "how many instances the fleet of TestFleet has")

// fleetSpan is the range of time that is shown.
const fleetSpan = 3 * time.Hour

// scrapeOfOne returns what a client shows that lost its connection, whose RPCs were killed, refused and waited, and
// that is connected again.
func scrapeOfOne(t *testing.T) string {
	t.Helper()
	a := startAgent(t, agent.WithListen("127.0.0.1:0"))
	p := play{t, []grpc.DialOption{a.DialOption()}}
	server := loopback.Serve(t, "127.0.0.1:0")
	c := p.plain(server.Address)
	c.watch()
	server.Halt()
	c.await(connectivity.TransientFailure)
	server = loopback.Serve(t, server.Address)
	t.Cleanup(server.Halt)
	c.ResetConnectBackoff()
	c.call()
	var text []byte
	eventually(t, "the metrics of a loss and a redial", func() bool {
		resp, err := http.Get("http://" + a.Addr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, err = io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc([]string{
			"redial_transport_duration_seconds_count", "redial_transport_interrupted_rpcs_total", `redial_trigger="redial"`,
		}, func(part string) bool { return !strings.Contains(string(text), part) })
	})
	file := filepath.Join(t.TempDir(), "scrape")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func runProgram(t *testing.T, name string, args ...string) {
	t.Helper()
	text, err := exec.Command(prom.Program(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	if name == "fill" {
		t.Logf("%s", text)
	}
}

// The dashboards of a fleet find the bad instance and the bad target among many, and print how long each panel
// takes. go test ./dashboards -run Fleet -v -args -instances 200 does so for 200 instances.
func TestFleet(t *testing.T) {
	end := time.Now().Truncate(time.Minute)
	data := filepath.Join(t.TempDir(), "data")
	runProgram(t, "fill", "-scrape", scrapeOfOne(t), "-out", data,
		"-instances", fmt.Sprint(*instances), "-end", fmt.Sprint(end.Unix()))
	config := "global: {scrape_interval: 1m}"
	before := prom.StartOn(t, data, config)
	runProgram(t, "promtool", "tsdb", "create-blocks-from", "rules", "--url=http://"+before.Address, "--output-dir="+data,
		"--start="+fmt.Sprint(end.Add(-fleetSpan).Unix()), "--end="+fmt.Sprint(end.Unix()), "--eval-interval=1m",
		filepath.Join("..", "..", "dashboards", "rules", "recording.yaml"))
	before.Stop()
	s := prom.StartOn(t, data, config)

	all, _ := queries(t)
	took := map[string]time.Duration{}
	for _, q := range append(all, rawReconnects...) {
		if q.dashboard == "overview.json" || q.dashboard == "fleet.json" {
			took[q.dashboard+", "+q.panel] += median(t, s, q, end)
		}
	}
	names := make([]string, 0, len(took))
	for name := range took {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(took[b], took[a]) })
	var table strings.Builder
	fmt.Fprintf(&table, "| panel, of %d instances | median of five |\n| --- | --- |\n", *instances)
	for _, name := range names {
		fmt.Fprintf(&table, "| %s | %v |\n", name, took[name].Round(time.Millisecond))
	}
	t.Logf("\n%s", &table)

	for panel, want := range map[string]string{
		"Instances compared": "pod-007:9464", "Targets compared": "dns:///service-03:443",
		"Connections lost, by instance": "pod-007:9464", "Connections lost, by target": "dns:///service-03:443",
	} {
		ref := "A"
		if strings.HasSuffix(panel, "compared") {
			ref = "F"
		}
		if have := top(t, s, find(t, all, "fleet.json", panel, ref), end); have != want {
			t.Errorf("%s: the worst is %s, want %s", panel, have, want)
		}
	}
}

// rawReconnects is what "Time to reconnect" would be without the recording rule, for comparison.
var rawReconnects = []query{{dashboard: "overview.json", panel: "(for comparison: Time to reconnect, from the " +
	"buckets of everybody)", ref: "A", interval: "1m",
	expr: `histogram_quantile(0.99, sum by (le) (rate(redial_connect_duration_seconds_bucket{redial_outcome="ready",redial_trigger="redial"}[$__rate_interval])))`}}

// at fills in the variables for hours of a fleet.
func (q query) at(step time.Duration) string {
	return strings.NewReplacer("$__rate_interval", "4m", "$__interval", step.String(), "$__range", "3h",
		"$job", anything, "$instance", anything, "$target", anything).Replace(q.expr)
}

// step is the time between two points: of as many as the panel asks for or has pixels, or the panel's least.
func (q query) step(t *testing.T) time.Duration {
	t.Helper()
	least, err := time.ParseDuration(cmp.Or(q.interval, "15s"))
	if err != nil {
		t.Fatal(err)
	}
	points := cmp.Or(q.points, 600)
	return max(least, time.Duration(fleetSpan.Seconds()/points)*time.Second)
}

func fleet(t *testing.T, s *prom.Server, q query, end time.Time) []prom.Series {
	t.Helper()
	step := q.step(t)
	var found []prom.Series
	var err error
	if q.instant {
		found, err = s.Query(q.at(step), end)
	} else {
		found, err = s.QueryRange(q.at(step), end.Add(-fleetSpan), end, step)
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func median(t *testing.T, s *prom.Server, q query, end time.Time) time.Duration {
	t.Helper()
	var times []time.Duration
	for range 5 {
		begin := time.Now()
		fleet(t, s, q, end)
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// top is the instance or target with the most.
func top(t *testing.T, s *prom.Server, q query, end time.Time) string {
	t.Helper()
	sums := map[string]float64{}
	for _, one := range fleet(t, s, q, end) {
		name := one.Metric["instance"] + one.Metric["grpc_target"]
		sums[name] += one.Value.Value
		for _, p := range one.Values {
			sums[name] += p.Value
		}
	}
	best := ""
	for name, sum := range sums {
		if best == "" || sum > sums[best] {
			best = name
		}
	}
	return best
}
