package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
	"github.com/redial-dev/redial/dashboards/generator/rule"
)

func (m *maker) attemptsOfFleet() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Attempts of all, by outcome",
		"Attempts to connect of all instances. A wall of red that repeats is a storm: everybody redials at "+
			"once. Where it is high, the servers "+
			"spend their time on handshakes. Needs the recording rules.").NoValue(needsRules), look.Outcomes).
		WithTarget(m.series("A", sumBy("redial_outcome", "sum_over_time("+rule.Attempts+"["+perBar+"])")+
			` or on () label_replace(`+rule.Loaded+`, "redial_outcome", "none", "", "")`, "{{redial_outcome}}"))
}

func (m *maker) lostAgainstLastWeek() *timeseries.PanelBuilder {
	return m.againstLastWeek("Connections lost, against last week", "Solid: this week. Dashed: the same time a "+
		"week ago. Above it, week after week, "+
		"connections get worse.", rule.Lost)
}

func (m *maker) harmedAgainstLastWeek() *timeseries.PanelBuilder {
	return m.againstLastWeek("RPCs refused or killed, against last week", "Solid: this week. Dashed: the same "+
		"time a week ago. Callers feel "+
		"this one.", rule.Harmed)
}

func (m *maker) againstLastWeek(title, description, series string) *timeseries.PanelBuilder {
	counted := func(offset string) string {
		return promql.OrZero(sum("sum_over_time(" + series + "[" + perBar + "]" + offset + ")"))
	}
	p := look.Lines(title, description+" 0 where nothing was recorded. Needs the recording "+
		"rules.", "locale").Decimals(0).AxisSoftMax(4).Interval("1m").
		WithTarget(m.series("A", counted(""), "this week")).
		WithTarget(m.series("B", counted(" offset 1w"), "last week"))
	return look.Dashed(look.Colored(p, look.Colors{{Name: "this week", Color: look.Bad}, {Name: "last " +
		"week", Color: look.Idle}}), "last week")
}
