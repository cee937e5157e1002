package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

func (m *maker) attemptsByOutcome() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Attempts, by outcome",
		"Each bar counts the attempts to connect that ended in its time. Red: failed, see the panel to the "+
			"right. Grey: another "+
			"address was faster, or the channel was closed."), look.Outcomes).
		WithTarget(m.series("A", promql.OrNone(
			sumBy("redial_outcome", promql.Observations(attempts, perBar)), "redial_outcome"),
			"{{redial_outcome}}"))
}

func (m *maker) failuresByPhase() *timeseries.PanelBuilder {
	return look.ColoredByEnd(look.Counts("Failed attempts, by phase and reason",
		"dial: the socket. handshake: TLS. settings: HTTP/2, the server accepted the socket and says nothing. "+
			"docs/causes.md says for each "+
			"reason what to do."), look.Failures).
		WithTarget(m.series("A", promql.OrNone(sumBy("redial_phase, "+
			"error_type", promql.Observations(failures, perBar)), "redial_phase"),
			"{{redial_phase}} {{error_type}}"))
}

func (m *maker) backoff() *timeseries.PanelBuilder {
	return look.Colored(look.Durations("Backoff waits, in the mean",
		"How long the subchannels waited before their next attempt; 0 where none waited. It grows from 1 s to "+
			"120 s while a server is away, so the higher it is, the later gRPC notices the server's return. "+
			"ResetConnectBackoff cuts it short."),
		look.Colors{{Name: "mean", Color: look.BackingOff}}).
		WithTarget(m.series("A", promql.OrZero(promql.Mean(backoffs, perBar)), "mean"))
}

func (m *maker) phaseHeat() *heatmap.PanelBuilder {
	return look.Heat("Duration of all phases of attempts",
		"How long dials, handshakes and exchanges of SETTINGS took: the brighter, the more. Two bands are two "+
			"kinds of phase or of path. A band at 20 s is "+
			"gRPC's own limit of an attempt: nobody answered. Exemplars lead to the trace of the episode.", "s").
		WithTarget(m.buckets("A", sumBy("le", promql.Growth(promql.Part(phases, "_bucket"), perBar))+" or "+
			sum(promql.NativeGrowth(phases, perBar))).Exemplar(true))
}

func (m *maker) phaseLatency() *timeseries.PanelBuilder {
	return look.Colored(look.Durations("Phases of attempts, in the mean",
		"What takes the time of an attempt: the dial (network), the handshake (TLS; the server's CPU) or the "+
			"exchange of SETTINGS (the server is slow to accept). Only where attempts were made.").
		NoValue("No attempts in this time"), look.Phases).
		WithTarget(m.series("A", promql.Mean(phases, perBar, "redial_phase"), "{{redial_phase}}"))
}
