package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
	"github.com/redial-dev/redial/dashboards/generator/rule"
)

const ready = `redial_channels{grpc_channel_state="ready"}`

func (m *maker) instancesNow() *stat.PanelBuilder {
	return look.Number("Instances", "Processes from which redial's metrics come now. Fewer than you run: those "+
		"do not have redial, or "+
		"nobody scrapes them.", "locale").Thresholds(look.Above()).
		WithTarget(m.series("A", promql.OrZero("count(group by (job, instance) ("+ready+"))"), "instances"))
}

func (m *maker) targetsNow() *stat.PanelBuilder {
	return look.Number("Targets", "What all these clients call, by the names that they "+
		"dial.", "locale").Thresholds(look.Above()).
		WithTarget(m.series("A", promql.OrZero("count(group by (grpc_target) ("+ready+"))"), "targets"))
}

func (m *maker) instancesDisconnected() *stat.PanelBuilder {
	return look.Number("Instances without a connection", "Instances that have an endpoint without a connection "+
		"now. Red from 1. One: "+
		"look at that instance. All: look at the target.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero("count("+sumBy("job, instance", disconnected)+" > 0)"), "instances"))
}

func (m *maker) targetsDisconnected() *stat.PanelBuilder {
	return look.Number("Targets without a connection", "Targets to which an endpoint has no connection now, at "+
		"any instance. Red from 1. One: look at "+
		"that server. All: look at what the clients share, such as the network.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero("count("+sumBy("grpc_target", disconnected)+" > 0)"), "targets"))
}

func (m *maker) shareThatLost() *stat.PanelBuilder {
	return look.Number("Instances that lost a connection", "The share of instances that lost a connection "+
		"within five minutes. Orange from 10 %: "+
		"more than one host. Red from 50 %: a storm, which the server feels as well: all of them redial at "+
		"once.", "percentunit").
		Decimals(0).TextMode(common.BigValueTextModeValueAndName).
		Thresholds(look.Above(look.Step{From: 0.1, Color: look.BackingOff}, look.Step{From: 0.5, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero("count("+sumBy("job, "+
			"instance", "sum_over_time("+rule.Lost+"[5m])")+" > 0) / "+
			"count(group by (job, instance) ("+ready+"))"), "within five minutes"))
}

func (m *maker) disconnectedByInstance() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Without a connection, by instance", "The five instances with the most "+
		"endpoints without a connection; none: there is no such. One line far "+
		"above the others is that host's or network's trouble.", "locale").Decimals(0).AxisSoftMax(2), nil).
		DataLinks(instances.links()).
		WithTarget(m.series("A", mostNow("instance", disconnected), "{{instance}}"))
}

func (m *maker) disconnectedByTarget() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Without a connection, by target", "The five targets with the most endpoints "+
		"without a connection; none: there is no such. One line far "+
		"above the others is that server's trouble.", "locale").Decimals(0).AxisSoftMax(2), nil).
		DataLinks(targets.links()).
		WithTarget(m.series("A", mostNow("grpc_target", disconnected), "{{grpc_target}}"))
}

// mostNow shows a gauge of those that had the most of it in the time shown.
func mostNow(by, gauge string) string {
	now := sumBy(by, gauge)
	return promql.OrNone(most(by, now, "avg_over_time(("+now+")[$__range:1m] @ end())"), by)
}

func (m *maker) lostByInstance() *timeseries.PanelBuilder {
	return m.recorded("Connections lost, by instance", "The five instances that lost the most. Each bar counts "+
		"its time. A deployment of a server shows as "+
		"one bar of all; an instance that stands out loses them by itself.", rule.Lost, instances)
}

func (m *maker) lostByTarget() *timeseries.PanelBuilder {
	return m.recorded("Connections lost, by target", "The five targets that lost the most connections. Each bar "+
		"counts its time. Click on one to see it, and its causes, in Redial target.", rule.Lost, targets)
}

func (m *maker) harmedByInstance() *timeseries.PanelBuilder {
	return m.recorded("RPCs refused or killed, by instance", "The five instances with the most RPCs that failed "+
		"of a connection: what their callers felt.",
		rule.Harmed, instances)
}

func (m *maker) harmedByTarget() *timeseries.PanelBuilder {
	return m.recorded("RPCs refused or killed, by target", "The five targets with the most RPCs that failed of "+
		"a connection: what callers of it felt.",
		rule.Harmed, targets)
}

// recorded shows the five highest of what a recording rule counts.
func (m *maker) recorded(title, description, series string, of subject) *timeseries.PanelBuilder {
	by := of.label
	return look.Colored(look.Counts(title, description+" Needs the recording rules.").NoValue(needsRules), nil).
		DataLinks(of.links()).
		WithTarget(m.series("A", most(by, sumBy(by, "sum_over_time("+series+"["+perBar+"])"),
			sumBy(by, "sum_over_time("+series+"[$__range] @ end())"))+
			` or on () label_replace(`+rule.Loaded+`, "`+by+`", "none", "", "")`, "{{"+by+"}}"))
}

// needsRules is what a panel says that finds nothing.
const needsRules = "Load dashboards/rules/recording.yaml into Prometheus to see this"

func (m *maker) instancesCompared() *table.PanelBuilder {
	return m.compared(look.Table("Instances compared", "Those with endpoints that have no connection come "+
		"first, then those with stalled ones and those that lost the most. "+
		"Click on an instance to see it alone. RPCs and losses need the recording rules."), instances)
}

func (m *maker) targetsCompared() *table.PanelBuilder {
	return m.compared(look.Table("Targets compared", "Those with endpoints that have no connection come first, "+
		"then those with stalled ones and those that lost the most. "+
		"Click on a target to see it alone. RPCs and losses need the recording rules."), targets)
}

func (m *maker) versionsNow() *stat.PanelBuilder {
	return look.Number("Versions of redial", "How many versions of redial run. Orange from 3: more than a "+
		"rollout has. Which they are is said at "+
		"the end of this dashboard.", "locale").
		Thresholds(look.Above(look.Step{From: 3, Color: look.BackingOff})).
		WithTarget(m.series("A", promql.OrZero("count("+byVersion+")"), "versions"))
}

func (m *maker) versions() *bargauge.PanelBuilder {
	return look.Rank("Instances, by version of redial", "How many instances run which version. unknown: their "+
		"metrics come by OTLP, which does not say it.", "locale").
		WithTarget(m.now("A", byVersion, "{{version}}"))
}

// byVersion counts instances. redial_build_info is there where redial's exporter is scraped.
const byVersion = `(count by (version) (redial_build_info) or ` +
	`label_replace(count(group by (job, instance) (` + ready + `) unless on (job, instance) redial_build_info), "version", "unknown", "", ""))`
