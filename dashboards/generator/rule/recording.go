// Package rule has the recording rules and alerts.
package rule

import (
	"fmt"

	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// The series that the recording rules make, a minute's growth each. The sum over a range is how much there was in
// it.
const (
	// Loaded is 0 wherever the rules are loaded.
	Loaded = "redial:rules:loaded"
	// Reconnects and ReconnectsNative are the times from a loss until READY, of all instances of a target.
	Reconnects       = "target:redial_reconnect_duration_seconds_bucket:growth1m"
	ReconnectsNative = "target:redial_reconnect_duration_seconds:growth1m"
	// Lost counts the connections that were lost, but for those that the client meant to end.
	Lost = "instance_target:redial_transports_lost:growth1m"
	// Attempts counts the attempts to connect.
	Attempts = "instance_target:redial_attempts:growth1m"
	// Harmed counts the RPCs that were refused or killed.
	Harmed = "instance_target:redial_rpcs_harmed:growth1m"
	// Slow counts the RPCs that waited for longer than a second, and Sent those that a transport took, of all instances.
	Slow = "target:redial_rpcs_slow:growth1m"
	Sent = "target:redial_rpcs_sent:growth1m"
)

const (
	window     = "1m"
	reconnects = `redial_connect_duration_seconds{redial_outcome="ready",redial_trigger="redial"}`
	lost       = `redial_transport_duration_seconds{redial_teardown_cause!~"idle_timeout|address_removed|lb_policy|channel_closed"}`
	attempts   = "redial_attempt_duration_seconds"
	killed     = "redial_transport_interrupted_rpcs_total"
	refused    = "redial_pick_unavailable_rpcs_total"
	waits      = "redial_pick_wait_duration_seconds"
	sent       = "redial_transport_rpcs_total"
)

// recording is a recording rule, and the labels by which it groups.
type recording struct {
	name, expr string
	labels     []string
}

var (
	ofTarget   = []string{"job", "grpc_target"}
	ofInstance = []string{"job", "instance", "grpc_target"}
)

var recordings = []recording{
	{Loaded, "vector(0)", nil},
	{Reconnects, promql.Growth(promql.Part(reconnects, "_bucket"), window), with(ofTarget, "le")},
	{ReconnectsNative, promql.NativeGrowth(reconnects, window), ofTarget},
	{Lost, promql.Observations(lost, window), ofInstance},
	{Attempts, promql.Observations(attempts, window), with(ofInstance, "redial_outcome")},
	{Harmed, "(" + promql.Growth(killed, window) + " or " + promql.Growth(refused, window) + ")", ofInstance},
	{Slow, slow, ofTarget},
	{Sent, promql.Growth(sent, window), ofTarget},
}

// slow counts waits above a second, which is a bound of the classic histogram's buckets.
var slow = "(" + promql.Growth(promql.Part(waits, "_count"), window) + " - ignoring (le) " +
	promql.Growth(`redial_pick_wait_duration_seconds_bucket{le=~"1|1[.]0"}`, window) + " or " +
	fmt.Sprintf("histogram_count(%[1]s) * histogram_fraction(1, Inf, %[1]s) >= 0", promql.NativeGrowth(waits, window)) + ")"

func with(labels []string, more ...string) []string {
	return append(append([]string{}, labels...), more...)
}

// Register makes the recorded series known, for the check of what the dashboards name.
func Register(s *promql.Signals) {
	for _, r := range recordings {
		s.Record(r.name, r.labels...)
	}
}

// Recording returns the group of recording rules.
func Recording(s *promql.Signals) (rulefmt.RuleGroup, error) {
	group := rulefmt.RuleGroup{Name: "redial-recording", Interval: minutes(1)}
	for _, r := range recordings {
		expr := r.expr
		if r.labels != nil {
			expr = sumBy(r.labels, expr)
		}
		expr, err := s.Format(expr)
		if err != nil {
			return group, fmt.Errorf("record %s: %w", r.name, err)
		}
		group.Rules = append(group.Rules, rulefmt.Rule{Record: r.name, Expr: expr})
	}
	return group, nil
}
