package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

const (
	dropped      = "redial_events_dropped_total"
	suppressed   = "redial_spans_suppressed_total"
	unattributed = "redial_transport_unattributed_total"
	overflowed   = "redial_targets_overflowed_total"
	internals    = "redial_internals_failed_total"
	failedExport = "redial_exports_failed_total"
	journaled    = "redial_journal_events_total"
	journalSize  = "redial_journal_size_bytes"
)

// fault is a number of the range shown that should be 0.
func (m *maker) fault(title, description, counter string) *stat.PanelBuilder {
	return look.Number(title, description, "locale").Thresholds(look.Above(look.Step{From: 1, Color: look.BackingOff})).
		WithTarget(m.now("A", promql.OrZero(total(func(w string) string { return sum(promql.Growth(counter, w)) })), title))
}

func (m *maker) notScraped() *stat.PanelBuilder {
	return look.Number("Instances not scraped", "Instances with redial, within the last hour, that Prometheus "+
		"could not scrape just now. Red from 1: of those nothing is "+
		"known. Sent by OTLP, none is counted.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero("count(up == 0 and on (job, instance) "+
			"last_over_time("+ready+"[1h]))"), "not scraped"))
}

func (m *maker) eventsLost() *stat.PanelBuilder {
	return m.fault("Events lost", "Events or spans of the time shown that found no room. Orange from 1: "+
		"journal, metrics and traces lack them. "+
		"Next: which sink, below, and the runbook of RedialAgentDropping.", dropped)
}

func (m *maker) spansLeftOut() *stat.PanelBuilder {
	return m.fault("Spans left out", "Root spans of the time shown that were not made, since their target has "+
		"more than REDIAL_SPAN_RATE allows. Orange from 1. "+
		"Metrics count them all the same; raise the rate if traces are missed.", suppressed)
}

func (m *maker) exportsFailed() *stat.PanelBuilder {
	return m.fault("Failed exports", "Exports by OTLP of the time shown that failed after all retries. Orange "+
		"from 1: the collector is away or refuses. "+
		"Next: the runbook of RedialExportFailing.", failedExport)
}

func (m *maker) notObserved() *stat.PanelBuilder {
	return m.fault("Connections not observed", "Connections of the time shown that belong to no subchannel that "+
		"redial knows. Orange from 1: wrap the "+
		"channel's own load balancing policy by instrument.WrapBalancer.", unattributed)
}

func (m *maker) withoutName() *stat.PanelBuilder {
	return m.fault("Channels named other", "Channels of the time shown whose target has no name of its own, "+
		"since there are too many. Orange from 1: raise "+
		"REDIAL_MAX_TARGETS, or choose by REDIAL_TARGETS those that matter.", overflowed)
}

func (m *maker) internalsFailed() *stat.PanelBuilder {
	return m.fault("gRPC changed", "How often, in the time shown, gRPC or Go was not as redial knows it. Orange from 1: "+
		"some values are unknown. "+
		"Next: the runbook of RedialInternalsFailed.", internals)
}

func (m *maker) eventsLostBySink() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Events lost, by sink", "queue: the sinks are too slow for what happens. "+
		"waits: too many RPCs wait at once. otlp: spans that "+
		"could not be delivered."), look.Self).
		WithTarget(m.series("A", promql.OrNone(sumBy("redial_sink", promql.Growth(dropped, perBar)), "redial_sink"),
			"{{redial_sink}}"))
}

func (m *maker) spansLeftOutOverTime() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Spans left out, over time", "When root spans were left out since their target had too "+
		"many. In a storm this is as it should be."), look.Self).
		WithTarget(m.series("A", promql.OrZero(sum(promql.Growth(suppressed, perBar))), "left out"))
}

func (m *maker) exportsFailedBySignal() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Failed exports, by signal", "traces: those spans are lost. metrics: "+
		"nothing is lost, the next export says the same sums."), look.Self).
		WithTarget(m.series("A", promql.OrNone(sumBy("redial_signal", promql.Growth(failedExport, perBar)), "redial_signal"),
			"{{redial_signal}}"))
}

func (m *maker) events() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Events observed", "What redial saw happen, of all channels. Healthy and "+
		"busy channels make none. Each costs some microseconds, in no RPC's way."), look.Self).
		WithTarget(m.series("A", promql.OrZero(sum(promql.Growth(journaled, perBar))), "events"))
}

func (m *maker) journalMemory() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Memory of the journal", "What the journal of newest events takes, of the "+
		"instances with the most and with the least. It stays below REDIAL_JOURNAL_SIZE and a "+
		"quarter.", "bytes"), look.Self).
		WithTarget(m.series("A", "max("+journalSize+")", "most")).
		WithTarget(m.series("B", "min("+journalSize+")", "least"))
}

func (m *maker) journalHistory() *timeseries.PanelBuilder {
	return look.Colored(look.Counts("Events pushed out of the journal", "Events that the journal keeps no more, "+
		"since newer ones took their room. Many: what /debug/redial/ "+
		"answers reaches back minutes only. Raise REDIAL_JOURNAL_SIZE to keep more."), look.Self).
		WithTarget(m.series("A", promql.OrZero(sum(promql.Growth("redial_journal_overwritten_total", perBar))), "pushed out"))
}

func (m *maker) seriesPerScrape() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Samples of a scrape", "How many samples an instance with redial gives at a "+
		"scrape, of the largest and of a middling one, with what else its endpoint serves. "+
		"Native histograms make far fewer. Sent by OTLP, there are none.", "locale").Decimals(0).NoValue("Not "+
		"scraped: metrics come by OTLP"), look.Self).
		WithTarget(m.series("A", "max(scrape_samples_scraped and on (job, instance) "+ready+")", "largest")).
		WithTarget(m.series("B", "quantile(0.5, scrape_samples_scraped and on (job, instance) "+
			""+ready+")", "middling"))
}

func (m *maker) scrapeTime() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Time of a scrape", "How long a scrape of an instance with redial takes, of "+
		"the slowest and of a middling one. Above a second, look at its samples, and at "+
		"its CPU.", "s").NoValue("Not scraped: metrics come by OTLP"), look.Self).
		WithTarget(m.series("A", "max(scrape_duration_seconds and on (job, instance) "+ready+")", "slowest")).
		WithTarget(m.series("B", "quantile(0.5, scrape_duration_seconds and on (job, instance) "+
			""+ready+")", "middling"))
}
