package board

import (
	"fmt"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// The queries of the panels, by what they find. The dashboard's variables are added to each selector afterwards.

// perBar is the window of a panel whose bars or points stand side by side: each event is in one of them.
const perBar = "$__interval"

// What there is now.
const (
	disconnected = "redial_endpoint_disconnected"
	openFor      = "redial_connect_age_seconds"
	waiting      = "redial_pick_waiting"
	stalled      = "redial_transport_stalled"
	unhealthy    = "redial_endpoint_unhealthy"
	subchannels  = "redial_subchannels"
	readyNow     = `redial_subchannels{grpc_subchannel_state="ready"}`
)

// What happens.
const (
	attempts    = "redial_attempt_duration_seconds"
	failures    = `redial_attempt_duration_seconds{redial_outcome="failed"}`
	phases      = "redial_phase_duration_seconds"
	backoffs    = "redial_backoff_duration_seconds"
	transports  = "redial_transport_duration_seconds"
	waits       = "redial_pick_wait_duration_seconds"
	killed      = "redial_transport_interrupted_rpcs_total"
	refused     = "redial_pick_unavailable_rpcs_total"
	resolutions = "redial_resolve_duration_seconds"
	answers     = "redial_resolve_answers_total"
	// lost leaves out what this client meant to do.
	lost = `redial_transport_duration_seconds{redial_teardown_cause!~"idle_timeout|address_removed|lb_policy|channel_closed"}`
)

// harmed counts the RPCs of a window that were refused or killed.
func harmed(window string) string {
	return fmt.Sprintf("(%s or %s)", promql.Growth(killed, window), promql.Growth(refused, window))
}

// byReason gives a reason to the endpoints whose first attempt has not failed yet.
func byReason(expr string) string {
	return fmt.Sprintf(`label_replace(%s, "error_type", "connecting", "error_type", "")`, expr)
}

func sum(expr string) string { return "sum(" + expr + ")" }

func sumBy(labels, expr string) string { return fmt.Sprintf("sum by (%s) (%s)", labels, expr) }

func maxBy(labels, expr string) string { return fmt.Sprintf("max by (%s) (%s)", labels, expr) }

// most keeps the five series that have the most in the dashboard's range, the same ones at all times.
func most(by, expr, inRange string) string {
	return fmt.Sprintf("%s and on (%s) topk(5, %s > 0)", expr, by, inRange)
}

// total returns how much there was of something in the dashboard's range, of an expression that takes a window.
func total(of func(window string) string) string { return promql.Within(of(perBar), perBar) }
