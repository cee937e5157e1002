package board

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/rule"
)

func (m *maker) timeToReconnect() *timeseries.PanelBuilder {
	quantile := func(q float64) string {
		return fmt.Sprintf("(histogram_quantile(%[1]v, sum by (le) (sum_over_time(%[2]s[%[3]s]))) or "+
			"histogram_quantile(%[1]v, sum(sum_over_time(%[4]s[%[3]s])))) >= 0 or on () %[5]s * 1",
			q, rule.Reconnects, perBar, rule.ReconnectsNative, rule.Loaded)
	}
	return look.Colored(look.Durations("Time to reconnect",
		"From the loss of a connection until the endpoint is READY again, of all instances; 0 where nothing "+
			"came back. Seconds "+
			"are gRPC's backoff: it waits 1 s after the first failed attempt, 1.6 times as long after each "+
			"further one. Classic histograms know no more than that it took above a minute. Needs the "+
			"recording rules.").NoValue(needsRules), look.Quantiles).
		WithTarget(m.series("A", quantile(0.5), "half within")).
		WithTarget(m.series("B", quantile(0.99), "99 % within"))
}
