package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// Agent shows whether redial itself can be relied on.
func Agent(s *promql.Signals) (dashboard.Dashboard, error) {
	m := &maker{signals: s}
	return m.finish(m.dashboard(agentUID, "Redial agent",
		"Can what redial says be relied on, and what does it cost? All green: nothing was lost.", "now-1h").
		WithPanel(m.notScraped().Height(4).Span(4)).
		WithPanel(m.eventsLost().Height(4).Span(3)).
		WithPanel(m.spansLeftOut().Height(4).Span(3)).
		WithPanel(m.exportsFailed().Height(4).Span(3)).
		WithPanel(m.notObserved().Height(4).Span(4)).
		WithPanel(m.withoutName().Height(4).Span(4)).
		WithPanel(m.internalsFailed().Height(4).Span(3)).
		WithRow(row("What was lost")).
		WithPanel(m.eventsLostBySink().Height(7).Span(8)).
		WithPanel(m.spansLeftOutOverTime().Height(7).Span(8)).
		WithPanel(m.exportsFailedBySignal().Height(7).Span(8)).
		WithRow(row("What it costs")).
		WithPanel(m.events().Height(7).Span(8)).
		WithPanel(m.journalMemory().Height(7).Span(8)).
		WithPanel(m.journalHistory().Height(7).Span(8)).
		WithPanel(m.seriesPerScrape().Height(7).Span(12)).
		WithPanel(m.scrapeTime().Height(7).Span(12)))
}
