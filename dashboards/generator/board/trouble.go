package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// The panels that say when it began and why, which overview and target share.

func (m *maker) disconnectedByReason() *timeseries.PanelBuilder {
	return look.Colored(look.Stacked("Endpoints without a connection, by reason",
		"How many endpoints had no connection, and what their last attempt failed of; connecting: none has "+
			"failed yet. "+
			"docs/causes.md says for each error.type what to do: connection_refused is a server that is down, "+
			"timeout a path "+
			"that drops packets, tls_* a certificate.", "locale").Decimals(0).AxisSoftMax(2), look.Failures).
		WithTarget(m.series("A", promql.OrNone(byReason(sumBy("error_type", disconnected)+" > "+
			"0"), "error_type"), "{{error_type}}"))
}

func (m *maker) lostByCause() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Connections lost, by cause",
		"Each bar counts the transports that ended in its time. Blue: the server said GOAWAY, as a deployment "+
			"does. Orange, red "+
			"and purple: nobody announced it. Grey: this client meant it. docs/causes.md says for each cause "+
			"what to do."), look.Causes).
		WithTarget(m.series("A", promql.OrNone(
			sumBy("redial_teardown_cause", promql.Observations(transports, perBar)), "redial_teardown_cause"),
			"{{redial_teardown_cause}}"))
}

func (m *maker) waitingByReason() *timeseries.PanelBuilder {
	return look.Colored(look.Stacked("RPCs waiting, by reason",
		"What the RPCs that wait now wait for. name_resolution: the resolver has not answered. connecting: no "+
			"subchannel is "+
			"READY. policy: the load balancing policy holds them. stream_quota: the server's limit of streams "+
			"is used up.", "locale").
		Decimals(0).AxisSoftMax(2), look.Reasons).
		WithTarget(m.series("A", sumBy("redial_wait_reason", waiting), "{{redial_wait_reason}}"))
}

func (m *maker) refusedAndKilled() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("RPCs refused and killed",
		"Refused: failed at once since no subchannel was READY and the RPC did not wait for one. Killed: was on "+
			"its way when "+
			"its transport was lost, so the server may have acted on it. Retries of callers make this bearable, "+
			"or worse."),
		look.Colors{{Name: "refused", Color: look.BackingOff}, {Name: "killed", Color: look.Bad}}).
		WithTarget(m.series("A", promql.OrZero(sum(promql.Growth(refused, perBar))), "refused")).
		WithTarget(m.series("B", promql.OrZero(sum(promql.Growth(killed, perBar))), "killed"))
}

func (m *maker) subchannelsByState() *timeseries.PanelBuilder {
	return look.Colored(look.Stacked("Subchannels by state",
		"All green is healthy. Orange waits after a failed attempt, light blue tries again, grey is idle: "+
			"nobody called, or "+
			"another address of the endpoint is used.", "locale").Decimals(0), look.States).
		WithTarget(m.series("A", sumBy("grpc_subchannel_state", subchannels), "{{grpc_subchannel_state}}"))
}
