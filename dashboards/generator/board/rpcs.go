package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

func (m *maker) waitDuration() *timeseries.PanelBuilder {
	return look.Colored(look.Durations("Waits of RPCs, 99 % below",
		"How long RPCs waited, by what for, of those that had to wait. Exemplars lead to the RPC's trace. It is "+
			"what callers feel "+
			"of all above."), look.Reasons).
		WithTarget(m.series("A", promql.OrNone(promql.Quantile(0.99, waits, perBar, "redial_wait_reason"), "redial_wait_reason"),
			"{{redial_wait_reason}}").Exemplar(true))
}
