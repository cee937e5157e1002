package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// Target shows what the clients do about one target.
func Target(s *promql.Signals) (dashboard.Dashboard, error) {
	m := &maker{signals: s}
	return m.finish(m.dashboard(targetUID, "Redial target",
		"What clients do about one target: choose it above. The first row says how it is now; the rows below, "+
			"from left to right, "+
			"what was tried, what came of it, and what RPCs felt of it.", "now-1h").
		WithPanel(m.disconnectedNow().Height(4).Span(4)).
		WithPanel(m.longestOutage().Height(4).Span(4)).
		WithPanel(m.stalledNow().Height(4).Span(4)).
		WithPanel(m.readyConnections().Height(4).Span(4)).
		WithPanel(m.waitingNow().Height(4).Span(4)).
		WithPanel(m.certificateExpiry().Height(4).Span(4)).
		WithRow(row("Connections")).
		WithPanel(m.stateOfClients().Height(8).Span(12)).
		WithPanel(m.disconnectedByReason().Height(8).Span(12)).
		WithPanel(m.lostByCause().Height(7).Span(12)).
		WithPanel(m.lifetime().Height(7).Span(12)).
		WithPanel(m.stalledByInstance().Height(7).Span(8)).
		WithPanel(m.unhealthyByReason().Height(7).Span(8)).
		WithPanel(m.subchannelsByState().Height(7).Span(8)).
		WithRow(row("Attempts to connect")).
		WithPanel(m.attemptsByOutcome().Height(7).Span(8)).
		WithPanel(m.failuresByPhase().Height(7).Span(8)).
		WithPanel(m.backoff().Height(7).Span(8)).
		WithPanel(m.phaseHeat().Height(8).Span(12)).
		WithPanel(m.phaseLatency().Height(8).Span(12)).
		WithRow(row("RPCs")).
		WithPanel(m.waitingByReason().Height(7).Span(6)).
		WithPanel(m.waitDuration().Height(7).Span(6)).
		WithPanel(m.refusedAndKilled().Height(7).Span(6)).
		WithPanel(m.spreadOfRPCs().Height(7).Span(6)).
		WithRow(row("Names")).
		WithPanel(m.resolutionsByOutcome().Height(7).Span(8)).
		WithPanel(m.resolutionTime().Height(7).Span(8)).
		WithPanel(m.addresses().Height(7).Span(8)))
}

func row(title string) *dashboard.RowBuilder { return dashboard.NewRowBuilder(title) }
