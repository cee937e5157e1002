package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

func (m *maker) resolutionsByOutcome() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Name resolutions, by outcome",
		"Each bar counts the resolver's answers in its time. Red: it failed, and gRPC goes on with the "+
			"addresses that it has, if any. "+
			"Next: the runbook of RedialNameResolutionFailing."), look.Outcomes).
		WithTarget(m.series("A", promql.OrNone(
			sumBy("redial_outcome", promql.Growth(answers, perBar)), "redial_outcome"),
			"{{redial_outcome}}"))
}

func (m *maker) resolutionTime() *timeseries.PanelBuilder {
	return look.Colored(look.Durations("Time for a name",
		"answered: how long the lookups took whose begin is known. not answered: how long the oldest question has been open; RPCs of "+
			"a new channel wait for "+
			"it. Above a second, look at the name server."),
		look.Colors{{Name: "95 % answered within", Color: look.Neutral}, {Name: "not answered " +
			"since", Color: look.Bad}}).
		WithTarget(m.series("A", promql.OrZero(promql.Quantile(0.95, resolutions, perBar)), "95 % answered "+
			"within")).
		WithTarget(m.series("B", promql.OrZero("max(redial_resolve_age_seconds)"), "not answered since"))
}

func (m *maker) addresses() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Addresses",
		"How many addresses the resolver gave, of the clients with the fewest and the most. Fewer at one "+
			"client: it "+
			"asked another name server, or long ago.", "locale").Decimals(0).AxisSoftMax(2),
		look.Colors{{Name: "most", Color: look.Neutral}, {Name: "fewest", Color: look.Connecting}}).
		WithTarget(m.series("A", "max(redial_resolve_addresses)", "most")).
		WithTarget(m.series("B", "min(redial_resolve_addresses)", "fewest"))
}
