package rule

import (
	"fmt"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// What an alert asks of the person who gets it.
const (
	critical = "critical" // Callers fail now.
	warning  = "warning"  // Callers will, or do a little: within the day.
)

// alert is an alerting rule. Its summary and description are templates of Prometheus.
type alert struct {
	name, severity       string
	expr                 string
	minutes              int // For how long it must hold.
	summary, description string
	dashboard            string // The uid of the one that shows it.
}

const target, agent = "redial-target", "redial-agent"

var alerts = []alert{
	{
		name: "RedialTargetDisconnected", severity: critical, minutes: 1, dashboard: target,
		// More than 30 s: three attempts have failed, or one hangs at gRPC's limit of 20 s.
		expr: maxBy(ofInstance, "redial_connect_age_seconds") + " > 30 unless " +
			"" + sumBy(ofInstance, ready) + " > 0",
		summary: "No connection to {{ $labels.grpc_target }}",
		description: "{{ $labels.instance }} has had no connection to {{ $labels.grpc_target }} for {{ $value | " +
			"humanizeDuration }}: " +
			whyDisconnected + ". Its RPCs fail, or wait until their deadline.",
	},
	{
		name: "RedialEndpointDisconnected", severity: warning, minutes: 5, dashboard: target,
		// More than five minutes: a restart is over by then.
		expr: maxBy(ofInstance, "redial_connect_age_seconds") + " > 300 and " +
			"" + sumBy(ofInstance, ready) + " > 0",
		summary: "Some of {{ $labels.grpc_target }} cannot be reached",
		description: "{{ $labels.instance }} has had no connection to an endpoint of {{ $labels.grpc_target }} " +
			"for " +
			"{{ $value | humanizeDuration }}: " + whyDisconnected + ". The others carry its load.",
	},
	{
		name: "RedialConnectionStalled", severity: critical, minutes: 1, dashboard: target,
		expr:    sumBy(ofInstance, "redial_transport_stalled") + " > 0",
		summary: "Packets to {{ $labels.grpc_target }} vanish",
		description: "{{ $value }} connections of {{ $labels.instance }} to {{ $labels.grpc_target }} are READY, and the " +
			"other side acknowledges nothing. RPCs on them die of their deadlines, until keepalive or the kernel gives them up.",
	},
	{
		name: "RedialStorm", severity: warning, minutes: 5, dashboard: target,
		// A deployment loses each connection once or twice; three times as many as there are is flapping.
		expr: sumBy(ofTarget, "sum_over_time("+Lost+"[5m])") + " > 3 * " +
			"clamp_min(max_over_time(" + sumBy(ofTarget, ready) + "[10m:1m]), 1)",
		summary: "Connections to {{ $labels.grpc_target }} come and go",
		description: "The clients of job {{ $labels.job }} lost {{ $value }} connections to {{ " +
			"$labels.grpc_target }} within five minutes, more than " +
			"three times as many as they have: " + whyLost + ".",
	},
	{
		name: "RedialHandshakeFailing", severity: warning, minutes: 5, dashboard: target,
		expr: sumBy(with(ofInstance, "error_type"),
			promql.Observations(`redial_attempt_duration_seconds{redial_outcome="failed",redial_phase="handshake"}`, "5m")) + " > 0",
		summary: "TLS to {{ $labels.grpc_target }} fails: {{ $labels.error_type }}",
		description: "{{ $value }} handshakes of {{ $labels.instance }} with {{ $labels.grpc_target }} failed " +
			"within five minutes: " +
			"{{ $labels.error_type }}.",
	},
	{
		name: "RedialCertificateExpiring", severity: warning, minutes: 10, dashboard: target,
		expr:    "min by (job, grpc_target) (redial_tls_server_not_after_seconds) - time() < 7 * 86400",
		summary: "The certificate of {{ $labels.grpc_target }} expires in {{ $value | humanizeDuration }}",
		description: "A server of {{ $labels.grpc_target }}, which job {{ $labels.job }} calls, shows a " +
			"certificate that expires in " +
			"{{ $value | humanizeDuration }}. From then on no new connection to it is made.",
	},
	{
		name: "RedialRPCsKilled", severity: warning, minutes: 5, dashboard: target,
		// Ten, for five minutes: less is the price of a deployment.
		expr:    sumBy(ofInstance, promql.Growth(killed, "10m")) + " >= 10",
		summary: "Losses of connections to {{ $labels.grpc_target }} kill RPCs",
		description: "{{ $value }} RPCs of {{ $labels.instance }} to {{ $labels.grpc_target }} died with their " +
			"transport within ten minutes: " +
			whyLost + ".",
	},
	{
		name: "RedialWaitBudgetBurnsFast", severity: critical, minutes: 2, dashboard: target,
		expr:    burns(14.4, "1h", "5m"),
		summary: "RPCs to {{ $labels.grpc_target }} wait for connections",
		description: "{{ $value | humanizePercentage }} of the RPCs of job {{ $labels.job }} to {{ $labels.grpc_target }} waited " +
			"for longer than a second in " +
			"the last hour: " + whyWaiting + ". At this rate a month's budget of 0.1 % is spent in two days.",
	},
	{
		name: "RedialWaitBudgetBurnsSlowly", severity: warning, minutes: 15, dashboard: target,
		expr:    burns(6, "6h", "30m"),
		summary: "RPCs to {{ $labels.grpc_target }} wait for connections too often",
		description: "{{ $value | humanizePercentage }} of the RPCs of job {{ $labels.job }} to {{ $labels.grpc_target }} waited " +
			"for longer than a second in " +
			"the last six hours: " + whyWaiting + ". At this rate a month's budget of 0.1 % is spent in five days.",
	},
	{
		name: "RedialTooManyPings", severity: warning, dashboard: target,
		expr: sumBy(ofInstance,
			promql.Observations(`redial_transport_duration_seconds{redial_teardown_cause="too_many_pings"}`, "15m")) + " > 0",
		summary: "{{ $labels.grpc_target }} says too_many_pings",
		description: "The server of {{ $labels.grpc_target }} closed {{ $value }} connections of {{ " +
			"$labels.instance }} within 15 minutes, since its keepalive " +
			"pings come more often than the server allows.",
	},
	{
		name: "RedialNameResolutionFailing", severity: warning, minutes: 5, dashboard: target,
		expr: sumBy(ofInstance, promql.Growth(`redial_resolve_answers_total{redial_outcome="failed"}`, "5m")) +
			" > 0 unless " +
			sumBy(ofInstance, promql.Growth(`redial_resolve_answers_total{redial_outcome="ready"}`, "5m")) +
			" > 0 or " +
			maxBy(ofInstance, "redial_resolve_age_seconds") + " > 30",
		summary: "The name of {{ $labels.grpc_target }} is not resolved",
		description: "{{ $labels.instance }} gets no addresses for {{ $labels.grpc_target }}: its resolver " +
			"fails, or has not answered for long. New channels do not " +
			"connect; those that have addresses go on with them.",
	},
	{
		name: "RedialStreamLimitReached", severity: warning, minutes: 5, dashboard: target,
		expr: sumBy(ofInstance, promql.Observations(`redial_pick_wait_duration_seconds{redial_wait_reason="stream_quota"}`, "5m")) +
			" > 0 or " +
			sumBy(ofInstance, `redial_pick_waiting{redial_wait_reason="stream_quota"}`) + " > 0",
		summary: "RPCs to {{ $labels.grpc_target }} wait for a stream",
		description: "{{ $value }} RPCs of {{ $labels.instance }} to {{ $labels.grpc_target }} waited within " +
			"five minutes, since the server's MAX_CONCURRENT_STREAMS " +
			"of the connection is used up.",
	},
	{
		name: "RedialAgentDropping", severity: warning, minutes: 5, dashboard: agent,
		expr:    sumBy([]string{"job", "instance", "redial_sink"}, promql.Growth("redial_events_dropped_total", "5m")) + " > 0",
		summary: "redial at {{ $labels.instance }} loses events",
		description: "{{ $value }} events found no room within five minutes at {{ $labels.instance }}, on their " +
			"way to or in the sink {{ $labels.redial_sink }}. What " +
			"redial says of this time is not whole; RPCs are not touched.",
	},
	{
		name: "RedialInternalsFailed", severity: warning, dashboard: agent,
		expr:    sumBy([]string{"job", "instance", "redial_internals_fact"}, "redial_internals_failed_total") + " > 0",
		summary: "redial at {{ $labels.instance }} does not know its gRPC: {{ $labels.redial_internals_fact }}",
		description: "What redial at {{ $labels.instance }} relies on ({{ $labels.redial_internals_fact }}) did not " +
			"hold {{ $value }} times: gRPC or Go is newer than redial. What rests on it is unknown; RPCs are not touched.",
	},
	{
		name: "RedialExportFailing", severity: warning, minutes: 10, dashboard: agent,
		expr:    sumBy([]string{"job", "instance", "redial_signal"}, promql.Growth("redial_exports_failed_total", "15m")) + " > 0",
		summary: "redial at {{ $labels.instance }} cannot export {{ $labels.redial_signal }}",
		description: "{{ $value }} exports of {{ $labels.redial_signal }} from {{ $labels.instance }} failed " +
			"within 15 minutes, after all retries.",
	},
}

const ready = `redial_subchannels{grpc_subchannel_state="ready"}`

// burns compares the share of RPCs that waited for longer than a second with a budget of one of a thousand, in a long
// window, so that it matters, and in a short one, so that it goes on.
func burns(times float64, long, short string) string {
	share := func(window string) string {
		of := func(series string) string { return sumBy(ofTarget, "sum_over_time("+series+"["+window+"])") }
		return fmt.Sprintf("%[1]s / (%[1]s + %[2]s)", of(Slow), of(Sent))
	}
	return fmt.Sprintf("%s > %v * 0.001 and %s > %v * 0.001", share(long), times, share(short), times)
}

// What a description says of the cause, asked when the alert fires.
var (
	whyDisconnected = asked("error_type", `redial_endpoint_disconnected{job=%q,instance=%q,grpc_target=%q,error_type!=\"\"}`,
		"no attempt has failed yet", "$labels.job $labels.instance $labels.grpc_target")
	whyLost = asked("redial_teardown_cause",
		`sum by (redial_teardown_cause) (increase({__name__=~\"redial_transport_duration_seconds(_count)?\",job=%q,grpc_target=%q}[10m]))`,
		"of causes unknown", "$labels.job $labels.grpc_target")
	whyWaiting = asked("redial_wait_reason", `sum by (redial_wait_reason) (redial_pick_waiting{job=%q,grpc_target=%q})`,
		"nobody waits just now", "$labels.job $labels.grpc_target")
)

// asked is a template that says the label of the highest series that a query finds.
func asked(label, query, otherwise, arguments string) string {
	return fmt.Sprintf(`{{ with printf "topk(1, %s > 0)" %s | query }}{{ . | first | label %q }}{{ else }}%s{{ end }}`,
		query, arguments, label, otherwise)
}
