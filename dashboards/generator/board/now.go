package board

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/stat"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// The numbers of the first row, which overview and target share.

func (m *maker) disconnectedNow() *stat.PanelBuilder {
	return look.Number("Endpoints without a connection",
		"Endpoints (one per channel below pick_first, one per backend below round_robin) that want a transport "+
			"now and have "+
			"none. Red from 1: RPCs to it wait or fail. Next: the reason in the row below, and the runbook of "+
			"RedialTargetDisconnected.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero(sum(disconnected)), "endpoints"))
}

func (m *maker) longestOutage() *stat.PanelBuilder {
	return look.Number("Longest outage now",
		"For how long the endpoint has had no connection that has waited longest. Orange from 5 s: a redial to "+
			"a server that "+
			"is there takes less. Red from 60 s: gRPC's backoff has grown past 20 s, so that it will be slow to "+
			"notice the server's return.", "s").
		Thresholds(look.Above(look.Step{From: 5, Color: look.BackingOff}, look.Step{From: 60, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero("max("+openFor+")"), "longest"))
}

func (m *maker) stalledNow() *stat.PanelBuilder {
	return look.Number("Stalled connections",
		"Transports that gRPC takes for READY though the other side acknowledges nothing: packets vanish. Red from 1: each "+
			"RPC on one dies of its deadline, until keepalive or the kernel gives it up. Next: the runbook of "+
			"RedialConnectionStalled.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero(sum(stalled)), "transports"))
}

func (m *maker) waitingNow() *stat.PanelBuilder {
	return look.Number("RPCs waiting",
		"RPCs that wait for a name, a connection, a policy or a stream now. Orange from 1: somebody waits, "+
			"which is normal for "+
			"moments. Red from 100: more than one caller's worth. Next: the reason in the panel of the same "+
			"name.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.BackingOff}, look.Step{From: 100, Color: look.Bad})).
		WithTarget(m.series("A", promql.OrZero(sum(waiting)), "RPCs"))
}

func (m *maker) harmedInRange() *stat.PanelBuilder {
	return look.Number("RPCs refused or killed",
		"RPCs of the time shown that failed since nothing was READY, or died with their transport. Their "+
			"callers saw "+
			"Unavailable. Red from 1. Next: which of both, and when, in the panel below.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Bad})).
		TextMode(common.BigValueTextModeValueAndName).
		WithTarget(m.now("A", promql.OrZero(total(func(w string) string { return sum(harmed(w)) })), inRange))
}

func (m *maker) lostInRange() *stat.PanelBuilder {
	return look.Number("Connections lost",
		"Transports of the time shown that ended though this client did not mean it. Blue from 1: a deployment "+
			"of the server "+
			"does this too. Whether it matters say the numbers to the left, and why it was the causes "+
			"below.", "locale").
		Thresholds(look.Above(look.Step{From: 1, Color: look.Neutral})).
		TextMode(common.BigValueTextModeValueAndName).
		WithTarget(m.now("A", promql.OrZero(total(func(w string) string { return sum(promql.Observations(lost, w)) })), inRange))
}

// inRange is what a number says that is of all the time shown, beside others that are of now.
const inRange = "in the time shown"
