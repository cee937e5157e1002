package board

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

func (m *maker) readyConnections() *stat.PanelBuilder {
	return look.Number("READY connections",
		"Subchannels that are READY now, of all clients chosen. Grey at 0: nobody called for a while, or nobody "+
			"got one. Compare with the "+
			"number of clients times that of addresses under round_robin, or with that of clients under "+
			"pick_first.", "locale").
		Thresholds(look.Between(look.Idle, look.Step{From: 1, Color: look.Good})).
		WithTarget(m.series("A", promql.OrZero(sum(readyNow)), "READY"))
}

func (m *maker) certificateExpiry() *stat.PanelBuilder {
	return look.Number("Certificate expires in",
		"Until the first certificate of the servers in use expires. Orange below 7 days, red below one: "+
			"renewals that failed should "+
			"have been noticed by then. Without TLS, or where it is not known, there is no number. Next: the "+
			"runbook of "+
			"RedialCertificateExpiring.", "s").NoValue("no TLS").
		Thresholds(look.Between(look.Bad,
			look.Step{From: day, Color: look.BackingOff}, look.Step{From: 7 * day, Color: look.Good})).
		WithTarget(m.series("A", "min(redial_tls_server_not_after_seconds) - time()", "expires in"))
}

const day = 24 * 3600

// states are those of a client, from the one to worry about least.
var states = []struct {
	state, text, color string
}{
	{"idle", "idle", look.Idle}, {"ready", "READY", look.Good}, {"connecting", "connecting", look.Connecting},
	{"transient_failure", "backing off", look.BackingOff},
}

func (m *maker) stateOfClients() *statetimeline.PanelBuilder {
	worst := ""
	options := map[string]dashboard.ValueMappingResult{}
	for i, s := range states {
		if i > 0 {
			worst += " or "
		}
		worst += fmt.Sprintf(`%d * (%s{grpc_subchannel_state="%s"} > bool 0)`, i, subchannels, s.state)
		text, color, index := s.text, s.color, int32(i)
		options[fmt.Sprint(i)] = dashboard.ValueMappingResult{Text: &text, Color: &color, Index: &index}
	}
	return look.Timeline("State of the clients",
		"The worst state of each client's subchannels, twenty clients at most: those that were worst. Orange "+
			"beside light blue, again and again: attempts fail and are "+
			"tried anew. All rows at once: look at the server. One row: look at that client's host and network.").
		Mappings([]dashboard.ValueMapping{{
			ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options},
		}}).
		Thresholds(look.Between(look.Idle, look.Step{From: 1, Color: look.Good}, look.Step{From: 2, Color: look.Connecting},
			look.Step{From: 3, Color: look.BackingOff})).
		DataLinks(look.Link{UID: targetUID, Variable: "instance"}.OfSeries("instance")).
		WithTarget(m.series("A", "topk(20, "+maxBy("instance", worst)+")", "{{instance}}"))
}

func (m *maker) stalledByInstance() *timeseries.PanelBuilder {
	return look.Colored(look.Lines("Stalled connections, by instance",
		"READY transports whose other side acknowledges nothing, of the five instances with the most; none: there is no such. "+
			"One instance: its host, NAT or network. All: what lies before the server, such as a load balancer that "+
			"forgot its flows.", "locale").Decimals(0).AxisSoftMax(2), nil).
		DataLinks(look.Link{UID: targetUID, Variable: "instance"}.OfSeries("instance")).
		WithTarget(m.series("A", mostNow("instance", stalled), "{{instance}}"))
}

func (m *maker) unhealthyByReason() *timeseries.PanelBuilder {
	return look.Colored(look.Stacked("READY endpoints that get no RPCs, by reason",
		"Endpoints that have a connection, which gRPC leaves out; none: there is no such. health_check_failed: the "+
			"server says that it does not serve. outlier_ejected: too many of its RPCs failed. RPCs that find no other "+
			"endpoint are refused.", "locale").Decimals(0).AxisSoftMax(2), look.Failures).
		WithTarget(m.series("A", promql.OrNone(sumBy("error_type", unhealthy)+" > 0", "error_type"), "{{error_type}}"))
}

func (m *maker) lifetime() *timeseries.PanelBuilder {
	by := "redial_teardown_cause"
	return look.Colored(look.Durations("Lifetime of lost connections",
		"How long those had lived that ended, in the mean, by cause; 0 where none did. The same number again "+
			"and again is somebody's timer: "+
			"the server's MaxConnectionAge, or the idle timeout of a proxy or NAT (then let keepalive be "+
			"shorter). Seconds: the server "+
			"accepts and then refuses."), look.Causes).
		WithTarget(m.series("A", promql.OrNone(promql.Mean(transports, perBar, by), by), "{{redial_teardown_cause}}"))
}
