package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/rule"
)

func (m *maker) worstTargets() *table.PanelBuilder {
	return m.compared(look.Table("Worst targets",
		"Targets with endpoints that have no connection come first, then those with stalled connections (READY, but "+
			"the other side acknowledges nothing), then those that lost the most. Click on a target "+
			"to see it alone. RPCs and losses need the recording rules."), targets)
}

// subject is what the rows of a table are.
type subject struct {
	label, title string
	link         look.Link // Where a click on one leads.
}

var (
	targets   = subject{"grpc_target", "Target", look.Link{UID: targetUID, Variable: "target"}}
	instances = subject{"instance", "Instance", look.Link{UID: overviewUID, Variable: "instance"}}
)

// links lead from the series of a panel, each of which is one of the subject, to that one alone.
func (s subject) links() []cog.Builder[dashboard.DashboardLink] { return s.link.OfSeries(s.label) }

// compared fills a table with what differs between the healthy and the others.
func (m *maker) compared(p *table.PanelBuilder, of subject) *table.PanelBuilder {
	columns := []look.Col{
		{Ref: "A", Title: "Without a connection", Color: look.Bad, Sorts: true},
		{Ref: "B", Title: "For", Unit: "s", Color: look.Bad},
		{Ref: "C", Title: "Stalled", Color: look.Bad, Sorts: true},
		{Ref: "D", Title: "RPCs waiting", Color: look.BackingOff},
		{Ref: "E", Title: "RPCs refused or killed", Color: look.Bad},
		{Ref: "F", Title: "Connections lost", Sorts: true},
	}
	// What the recording rules count, and 0 where they are loaded and counted nothing.
	recorded := func(series string) string {
		return sumBy(of.label, "sum_over_time("+series+"[$__range])") + " or " +
			sumBy(of.label, subchannels) + " * on () group_left () " + rule.Loaded
	}
	p = p.WithTarget(m.column("A", sumBy(of.label, disconnected))).
		WithTarget(m.column("B", maxBy(of.label, openFor))).
		WithTarget(m.column("C", sumBy(of.label, stalled))).
		WithTarget(m.column("D", sumBy(of.label, waiting))).
		WithTarget(m.column("E", recorded(rule.Harmed))).
		WithTarget(m.column("F", recorded(rule.Lost))).
		WithTarget(m.series("G", sumBy(of.label, "sum_over_time("+rule.Lost+"["+perBar+"])"), ""))
	return look.Compared(p, of.label, of.title, of.link, columns, "G", "Losses over time")
}
