package dashboards_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redial-dev/redial/dashboards"
)

// minute is how long a minute of the dashboards and rules is here: all durations in them are shorter by the same
// factor, so that a play of minutes has what hours show.
const minute = 5 * time.Second

var durations = regexp.MustCompile(`\b(\d+)([mhd])\b`)

// quick shortens the durations of an expression or a file of rules.
func quick(text string) string {
	text = strings.ReplaceAll(text, "> 300", "> 25") // An outage of five minutes.
	return durations.ReplaceAllStringFunc(text, func(d string) string {
		n, err := strconv.Atoi(d[:len(d)-1])
		if err != nil {
			return d
		}
		minutes := map[byte]int{'m': 1, 'h': 60, 'd': 24 * 60}[d[len(d)-1]] * n
		return fmt.Sprintf("%ds", minutes*int(minute.Seconds()))
	})
}

// query is one of a dashboard: of a panel or an annotation.
type query struct {
	dashboard, panel, ref, expr string
	instant                     bool
	interval                    string  // The least that $__interval is.
	points                      float64 // How many the panel asks for, or 0.
}

func (q query) String() string { return q.dashboard + ", " + q.panel + ", " + q.ref }

// filled returns the expression with the variables in their places.
func (q query) filled(job, target string, length time.Duration) string {
	if target != anything {
		target = strings.ReplaceAll(target, ".", "[.]")
	}
	return quick(strings.NewReplacer(
		"$__rate_interval", minute.String(), "$__interval", minute.String(),
		"$__range", fmt.Sprintf("%ds", int(length.Seconds())),
		"$job", job, "$instance", anything, "$target", target,
	).Replace(q.expr))
}

type panel struct {
	Title    string
	Interval string
	Points   float64 `json:"maxDataPoints"`
	Targets  []struct {
		RefID   string `json:"refId"`
		Expr    string
		Instant bool
	}
	Panels []panel
}

// queries returns all queries of all dashboards, and the queries of their variables.
func queries(t *testing.T) (all []query, variables []string) {
	t.Helper()
	files, err := fs.Glob(dashboards.FS, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := dashboards.FS.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels      []panel
			Annotations struct {
				List []struct{ Name, Expr string }
			}
			Templating struct {
				List []struct {
					Type  string
					Query any
				}
			}
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, one := range p.Targets {
				all = append(all, query{file, p.Title, one.RefID, one.Expr, one.Instant, p.Interval, p.Points})
			}
		}
		for _, a := range d.Annotations.List {
			all = append(all, query{dashboard: file, panel: a.Name, expr: a.Expr})
		}
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				variables = append(variables, fmt.Sprint(v.Query))
			}
		}
	}
	return all, variables
}
