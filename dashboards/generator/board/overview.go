package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// Overview answers within 30 seconds, and without scrolling: is anyone without a connection, since when, and why?
func Overview(s *promql.Signals) (dashboard.Dashboard, error) {
	m := &maker{signals: s}
	return m.finish(look.Dashboard(overviewUID, "Redial overview",
		"Is anyone without a connection now, since when, and why? Read the first row; if a number is not green, the row below "+
			"says when it began and of what cause, and the table at the end which target it is.", "now-1h").
		WithPanel(m.backingOffNow().Height(4).Span(6)).
		WithPanel(m.waitingNow().Height(4).Span(6)).
		WithPanel(m.harmedNow().Height(4).Span(6)).
		WithPanel(m.lostNow().Height(4).Span(6)).
		WithPanel(m.subchannels().Height(7).Span(8)).
		WithPanel(m.lossesByCause().Height(7).Span(8)).
		WithPanel(m.timeToReconnect().Height(7).Span(8)).
		WithPanel(m.worstTargets().Height(8).Span(24)))
}

func (m *maker) backingOffNow() *stat.PanelBuilder {
	return look.Number("Subchannels backing off", "Subchannels whose last attempt failed, and that wait before the next. 0 is healthy. "+
		"Next: which target, in the table below.", "short").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero(`sum(redial_subchannels{grpc_subchannel_state="transient_failure"})`), "backing off"))
}

func (m *maker) waitingNow() *stat.PanelBuilder {
	return look.Number("RPCs waiting", "RPCs that wait for a transport now. A few for a moment are normal while a channel connects.", "short").
		Thresholds(look.Above(look.Step{From: 1, Color: look.BackingOff}, look.Step{From: 100, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero("sum(redial_pick_waiting)"), "waiting"))
}

const killed, refused = "redial_transport_interrupted_rpcs_total", "redial_pick_unavailable_rpcs_total"

func (m *maker) harmedNow() *stat.PanelBuilder {
	return look.Number("RPCs refused or killed", "RPCs that failed in the time that is shown since no subchannel was READY, or that died "+
		"with their transport. Callers saw Unavailable.", "short").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.now("A", promql.OrZero(promql.Within("sum("+promql.Growth(killed, "1m")+" or "+promql.Growth(refused, "1m")+")")), "RPCs"))
}

func (m *maker) lostNow() *stat.PanelBuilder {
	return look.Number("Connections lost", "Transports that were lost in the time that is shown, of whatever cause.", "short").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Neutral})).
		WithTarget(m.now("A", promql.OrZero(promql.Within("sum("+promql.Observations(transports, "1m")+")")), "lost"))
}

const transports = "redial_transport_duration_seconds"

func (m *maker) subchannels() *timeseries.PanelBuilder {
	return look.Colored(look.Stacked("Subchannels by state", "All green is healthy. Orange waits after a failed attempt, light blue tries again. "+
		"Grey is idle: nobody called for a while, or another address of the endpoint is used.", "short"), look.States).
		WithTarget(m.series("A", "sum by (grpc_subchannel_state) (redial_subchannels)", "{{grpc_subchannel_state}}"))
}

func (m *maker) lossesByCause() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Connections lost, by cause", "Each bar counts the transports that were lost in its time. docs/causes.md says for "+
		"each cause what to do. Grey causes are this client's own doing."), look.Causes).
		WithTarget(m.series("A", promql.OrNone("sum by (redial_teardown_cause) ("+promql.Observations(transports, "$__interval")+")", "redial_teardown_cause"),
			"{{redial_teardown_cause}}"))
}

const episodes = `redial_connect_duration_seconds{redial_outcome="ready",redial_trigger="redial"}`

func (m *maker) timeToReconnect() *timeseries.PanelBuilder {
	return look.Lines("Time to reconnect", "From the loss of a connection until the endpoint is READY again. 0 where nothing was lost.", "s").
		WithTarget(m.series("A", promql.OrZero(promql.Quantile(0.5, episodes, "$__interval")), "half within")).
		WithTarget(m.series("B", promql.OrZero(promql.Quantile(0.99, episodes, "$__interval")), "99 % within").Exemplar(true))
}

func (m *maker) worstTargets() *table.PanelBuilder {
	return look.Table("Worst targets", "The targets with the most subchannels backing off, then with the most losses. Click on one to see it alone.").
		WithTarget(m.column("A", `sum by (grpc_target) (redial_subchannels{grpc_subchannel_state="transient_failure"})`)).
		WithTarget(m.column("B", "sum by (grpc_target) (redial_pick_waiting)")).
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"excludeByName": map[string]bool{"Time": true},
			"renameByName":  map[string]string{"grpc_target": "Target", "Value #A": "Backing off", "Value #B": "RPCs waiting"},
		}}).
		NoValue("0")
}
