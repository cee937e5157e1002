package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

func (m *maker) waitDuration() *timeseries.PanelBuilder {
	return look.Colored(look.Durations("Waits of RPCs, 99 % below",
		"How long RPCs waited, by what for, of those that had to wait. Exemplars lead to the RPC's trace. It is "+
			"what callers feel of all above. Classic histograms know no more than that it took above ten seconds."), look.Reasons).
		WithTarget(m.series("A", promql.OrNone(
			promql.Quantile(0.99, waits, perBar, "redial_wait_reason"), "redial_wait_reason"),
			"{{redial_wait_reason}}").Exemplar(true))
}

func (m *maker) spreadOfRPCs() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Spread of RPCs over connections",
		"RPCs of the busiest and of the least busy READY subchannel of a client, between two scrapes. "+
			"Far apart under round_robin: a long stream, or addresses that joined late. "+
			"Under pick_first there is one, and both are equal.", "locale").Decimals(0),
		look.Colors{{Name: "busiest", Color: look.Neutral}, {Name: "least_busy", Color: look.Connecting}}).
		WithTarget(m.series("A", maxBy("redial_subchannel_rank", `redial_subchannel_rpcs{redial_subchannel_rank="busiest"}`),
			"{{redial_subchannel_rank}}")).
		WithTarget(m.series("B", `min by (redial_subchannel_rank) (redial_subchannel_rpcs{redial_subchannel_rank="least_busy"})`,
			"{{redial_subchannel_rank}}"))
}
