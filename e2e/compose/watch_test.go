package compose

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	length = flag.Duration("watch", 0, "watch the containers for so long, and write what they take to docs/scale.md")
	taken  = regexp.MustCompile(`(?s)(<!-- measured: containers -->\n).*?(\n\n|\z)`)
)

// usage is what a container takes, as the engine says.
type usage struct {
	CPU struct {
		Usage struct {
			Total float64 `json:"total_usage"` // Nanoseconds.
		} `json:"cpu_usage"`
	} `json:"cpu_stats"`
	Memory struct {
		Usage float64            `json:"usage"`
		Stats map[string]float64 `json:"stats"`
	} `json:"memory_stats"`
}

// memory is what the processes take: without the page cache, which the kernel takes back.
func (u usage) memory() float64 {
	return u.Memory.Usage - max(u.Memory.Stats["total_inactive_file"], u.Memory.Stats["inactive_file"])
}

// TestWatch measures what each container takes of memory and CPU.
func TestWatch(t *testing.T) {
	if *length == 0 {
		t.Skip("no -watch")
	}
	up(t)
	engine := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "/var/run/docker.sock")
	}}}
	measure := func(id string) (u usage) {
		t.Helper()
		answer, err := engine.Get("http://engine/containers/" + id + "/stats?stream=false&one-shot=true")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(json.NewDecoder(answer.Body).Decode(&u), answer.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return u
	}
	services := strings.Fields(must(t)(compose("ps", "--services")))
	slices.Sort(services)
	ids, first, most, sum := map[string]string{}, map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, s := range services {
		ids[s] = must(t)(compose("ps", "--quiet", s))
		first[s] = measure(ids[s]).CPU.Usage.Total
	}
	start := time.Now()
	samples, last := 0., map[string]float64{}
	for tick := time.Tick(5 * time.Second); time.Since(start) < *length; <-tick {
		samples++
		for _, s := range services {
			u := measure(ids[s])
			last[s], most[s], sum[s] = u.CPU.Usage.Total, max(most[s], u.memory()), sum[s]+u.memory()
		}
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| container | memory, average | memory, most | CPU, of one core |\n| --- | --- | --- | --- |\n")
	var all [3]float64
	row := func(name string, average, most, cpu float64) {
		fmt.Fprintf(&table, "| %s | %.0f MiB | %.0f MiB | %.1f %% |\n", name, average/(1<<20), most/(1<<20), cpu*100)
	}
	for _, s := range services {
		average, cpu := sum[s]/samples, (last[s]-first[s])/float64(time.Since(start))
		row(s, average, most[s], cpu)
		all[0], all[1], all[2] = all[0]+average, all[1]+most[s], all[2]+cpu
	}
	row("all", all[0], all[1], all[2])
	t.Logf("over %v:\n%s", *length, &table)
	const page = "../../docs/scale.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !taken.Match(text) {
		t.Fatalf("%s has no table of containers", page)
	}
	written := taken.ReplaceAll(text, []byte("${1}"+strings.TrimSuffix(table.String(), "\n")+"${2}"))
	if err := os.WriteFile(page, written, 0o644); err != nil {
		t.Fatal(err)
	}
}
