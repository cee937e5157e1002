package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// Fleet shows which of many instances or targets is different, and whether it gets better or worse.
func Fleet(s *promql.Signals) (dashboard.Dashboard, error) {
	m := &maker{signals: s}
	return m.finish(m.dashboard(fleetUID, "Redial fleet",
		"Which of hundreds of instances is different, and is it getting better or worse? One instance above all "+
			"others: its host or "+
			"network. All instances at one target: that server. All of everything: what they share. Needs the "+
			"recording rules.", "now-3h").
		WithPanel(m.instancesNow().Height(4).Span(4)).
		WithPanel(m.targetsNow().Height(4).Span(4)).
		WithPanel(m.instancesDisconnected().Height(4).Span(4)).
		WithPanel(m.targetsDisconnected().Height(4).Span(4)).
		WithPanel(m.shareThatLost().Height(4).Span(4)).
		WithPanel(m.versionsNow().Height(4).Span(4)).
		WithRow(row("Which is different?")).
		WithPanel(m.disconnectedByInstance().Height(7).Span(8)).
		WithPanel(m.lostByInstance().Height(7).Span(8)).
		WithPanel(m.harmedByInstance().Height(7).Span(8)).
		WithPanel(m.disconnectedByTarget().Height(7).Span(8)).
		WithPanel(m.lostByTarget().Height(7).Span(8)).
		WithPanel(m.harmedByTarget().Height(7).Span(8)).
		WithPanel(m.instancesCompared().Height(8).Span(24)).
		WithPanel(m.targetsCompared().Height(8).Span(24)).
		WithRow(row("Better or worse?")).
		WithPanel(m.attemptsOfFleet().Height(7).Span(8)).
		WithPanel(m.lostAgainstLastWeek().Height(7).Span(8)).
		WithPanel(m.harmedAgainstLastWeek().Height(7).Span(8)).
		WithPanel(m.versions().Height(4).Span(24)))
}
