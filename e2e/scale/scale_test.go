// Package scale measures what redial's signals weigh, and keeps docs/scale.md at that. It writes the page's tables
// anew by
//
//	go -C e2e test ./scale -update
package scale

import (
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/prometheus"
)

var update = flag.Bool("update", false, "write the tables of docs/scale.md anew")

// The fleet that the page is about.
const (
	pods     = 10_000
	targets  = 50
	interval = 30.0 // Seconds between two scrapes.
	losses   = 24.0 // Connections lost a day, for each target of a pod.
	day      = 24 * 60 * 60.0
	share    = 0.05 // What deploy/kubernetes keeps of the ordinary traces.
)

// weights is what was measured.
type weights struct {
	process, healthy, after             scrape // One process without a target; what each target adds.
	nativeProcess, native, nativeAfter  scrape
	first, redial                       spans // To connect, call once and close; to lose the connection and connect again.
	eventsFirst, eventsRedial, perEvent float64
}

func measure(t *testing.T) (w weights) {
	const some = 25
	each := func(all, none scrape) scrape { return all.minus(none).by(1. / some) }

	none, healthy, after := run(t, 0, false), run(t, some, false), run(t, some, true)
	w.process, w.healthy, w.after = none.text, each(healthy.text, none.text), each(after.text, none.text)
	w.first, w.redial = healthy.spans.by(1./some), after.spans.minus(healthy.spans).by(1./some)
	w.eventsFirst, w.eventsRedial = healthy.events/some, (after.events-healthy.events)/some
	w.perEvent = after.bytes / after.events

	native := agent.WithPrometheus(prometheus.WithNativeHistograms())
	none, healthy, after = run(t, 0, false, native), run(t, some, false, native), run(t, some, true, native)
	w.nativeProcess = none.protobuf
	w.native, w.nativeAfter = each(healthy.protobuf, none.protobuf), each(after.protobuf, none.protobuf)
	return w
}

// number writes one for people: with three digits that count.
func number(x float64) string {
	switch {
	case math.Abs(x) >= 1e9:
		return fmt.Sprintf("%.3g G", x/1e9)
	case math.Abs(x) >= 1e6:
		return fmt.Sprintf("%.3g M", x/1e6)
	case math.Abs(x) >= 1e3:
		return fmt.Sprintf("%.3g k", x/1e3)
	case math.Abs(x) >= 100:
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.3g", x)
}

// tables returns the page's tables by their names.
func (w weights) tables() map[string]string {
	one := table("", "series", "bytes a scrape", "gzipped")
	for _, row := range []struct {
		name string
		scrape
	}{
		{"classic: the process itself", w.process},
		{"classic: a healthy target", w.healthy},
		{"classic: a target after an outage", w.after},
		{"native: the process itself", w.nativeProcess},
		{"native: a healthy target", w.native},
		{"native: a target after an outage", w.nativeAfter},
	} {
		one.row(row.name, row.series, row.bytes, row.compressed)
	}
	work := table("", "spans", "bytes by OTLP", "gzipped", "events", "bytes of the journal")
	work.row("connect, call, close", w.first.number, w.first.bytes, w.first.compressed, w.eventsFirst, w.eventsFirst*w.perEvent)
	work.row("lose the connection, fail once, connect again",
		w.redial.number, w.redial.bytes, w.redial.compressed, w.eventsRedial, w.eventsRedial*w.perEvent)
	fleet := table("", "classic", "native")
	each := func(name string, classic, native float64) { fleet.row(name, classic, native) }
	whole := func(process, target scrape) scrape {
		all := target.by(targets)
		return scrape{process.series + all.series, process.bytes + all.bytes, process.compressed + all.compressed}
	}
	classic, native := whole(w.process, w.healthy), whole(w.nativeProcess, w.native)
	each("series of a pod", classic.series, native.series)
	each("bytes of a scrape", classic.bytes, native.bytes)
	each("series", classic.series*pods, native.series*pods)
	each("samples/s", classic.series*pods/interval, native.series*pods/interval)
	each("bytes/s scraped", classic.bytes*pods/interval, native.bytes*pods/interval)
	each("bytes/s scraped, gzipped", classic.compressed*pods/interval, native.compressed*pods/interval)
	traces := table("", "spans/s", "bytes/s", "gzipped", "bytes a day")
	flow := func(name string, s spans, perSecond float64) {
		s = s.by(perSecond)
		traces.row(name, s.number, s.bytes, s.compressed, s.bytes*day)
	}
	flow("sent by the pods", w.redial, pods*targets*losses/day)
	flow("kept, if one loss in ten is ordinary", w.redial, pods*targets*losses/day*(0.9+0.1*share))
	flow("kept, if nine losses in ten are ordinary", w.redial, pods*targets*losses/day*(0.1+0.9*share))
	return map[string]string{"weights": one.String(), "work": work.String(),
		"fleet": fleet.String(), "traces": traces.String()}
}

// grid is a table of the page.
type grid struct{ strings.Builder }

func table(columns ...string) *grid {
	g := &grid{}
	fmt.Fprintf(g, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
	return g
}

func (g *grid) row(name string, values ...float64) {
	fmt.Fprintf(g, "| %s |", name)
	for _, v := range values {
		fmt.Fprintf(g, " %s |", number(v))
	}
	fmt.Fprintln(g)
}

var (
	page  = "../../docs/scale.md"
	block = regexp.MustCompile(`(?s)(<!-- table: (\w+) -->\n)(.*?)(\n\n|\z)`)
	value = regexp.MustCompile(`(-?[0-9.]+(?:e\+?[0-9]+)?)( [kMG])?\b`)
)

// values reads the numbers of a table.
func values(t *testing.T, text string) (all []float64) {
	t.Helper()
	for _, found := range value.FindAllStringSubmatch(text, -1) {
		x, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x*map[string]float64{"": 1, " k": 1e3, " M": 1e6, " G": 1e9}[found[2]])
	}
	return all
}

// TestScaleIsAsDocumented compares the page's tables with what is measured now. Sizes differ a little from run to
// run: by the ports, the ids and the digits of times.
func TestScaleIsAsDocumented(t *testing.T) {
	tables := measure(t).tables()
	documented, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		documented = block.ReplaceAllFunc(documented, func(old []byte) []byte {
			parts := block.FindSubmatch(old)
			return []byte(string(parts[1]) + strings.TrimSuffix(tables[string(parts[2])], "\n") + string(parts[4]))
		})
		if err := os.WriteFile(page, documented, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for _, b := range block.FindAllSubmatch(documented, -1) {
		name := string(b[2])
		found++
		have, want := values(t, string(b[3])), values(t, tables[name])
		same := len(have) == len(want)
		for i := 0; same && i < len(want); i++ {
			same = math.Abs(have[i]-want[i]) <= 0.2*math.Abs(want[i])
		}
		if !same {
			t.Errorf("docs/scale.md, table %s: `go -C e2e test ./scale -update` writes it anew; measured is\n%s", name, tables[name])
		}
	}
	if found != len(tables) {
		t.Errorf("docs/scale.md has %d of %d tables", found, len(tables))
	}
}
