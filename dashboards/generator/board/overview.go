package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// Overview answers within 30 seconds, and without scrolling: is anyone without a connection, since when, and why?
func Overview(s *promql.Signals) (dashboard.Dashboard, error) {
	m := &maker{signals: s}
	return m.finish(m.dashboard(overviewUID, "Redial overview",
		"Is anyone without a connection now, since when, and why? The first row is green on a healthy system. "+
			"If a number "+
			"is not, the row below says when it began and of what cause, and the table which target it "+
			"is.", "now-1h").
		WithPanel(m.disconnectedNow().Height(4).Span(4)).
		WithPanel(m.longestOutage().Height(4).Span(3)).
		WithPanel(m.stalledNow().Height(4).Span(4)).
		WithPanel(m.readyConnections().Height(4).Span(3)).
		WithPanel(m.waitingNow().Height(4).Span(3)).
		WithPanel(m.harmedInRange().Height(4).Span(4)).
		WithPanel(m.lostInRange().Height(4).Span(3)).
		WithPanel(m.disconnectedByReason().Height(7).Span(8)).
		WithPanel(m.lostByCause().Height(7).Span(8)).
		WithPanel(m.timeToReconnect().Height(7).Span(8)).
		WithPanel(m.waitingByReason().Height(6).Span(8)).
		WithPanel(m.refusedAndKilled().Height(6).Span(8)).
		WithPanel(m.subchannelsByState().Height(6).Span(8)).
		WithPanel(m.worstTargets().Height(7).Span(24)))
}
