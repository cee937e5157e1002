package look

import "github.com/grafana/grafana-foundation-sdk/go/timeseries"

// One colour means one thing on all dashboards. They are those of Okabe and Ito, and shades of them, which people
// who confuse red and green see apart, and which stand out on dark and on light.
const (
	Good       = "#009E73" // READY, healthy.
	Connecting = "#56B4E9"
	BackingOff = "#E69F00" // Also: look at this soon.
	Bad        = "#D55E00" // Failed, lost, refused: look at this now.
	Stalled    = "#CC79A7"
	Neutral    = "#0072B2" // What is neither good nor bad.
	Idle       = "#8A8F98"
)

// Colors are the colours of series, by name.
type Colors []struct{ Name, Color string }

// The values of attributes that name series.
var (
	States = Colors{{"ready", Good}, {"connecting", Connecting}, {"transient_failure", BackingOff}, {"idle", Idle}}

	// Causes of a loss. Grey is what this client meant to do.
	Causes = Colors{
		{"goaway", Neutral}, {"too_many_pings", "#F0E442"}, {"peer_closed", BackingOff}, {"connection_reset", Bad},
		{"keepalive_timeout", Stalled}, {"timed_out", "#9B5FC0"}, {"protocol_error", "#7A3B00"}, {"unknown", "#C9CCD1"},
		{"idle_timeout", Idle}, {"address_removed", "#6B7078"}, {"lb_policy", "#565B63"}, {"channel_closed", "#A9AEB6"},
	}

	// Failures of attempts. Shades of purple are TLS.
	Failures = Colors{
		{"connection_refused", Bad}, {"timeout", BackingOff}, {"host_unreachable", "#B5651D"},
		{"network_unreachable", "#7A3B00"}, {"connection_reset", "#F0866A"}, {"closed_by_peer", "#E8C33C"},
		{"name_resolution", Neutral}, {"proxy", "#5E81AC"}, {"tls_certificate_expired", Stalled},
		{"tls_unknown_authority", "#9B5FC0"}, {"tls_hostname_mismatch", "#B07CC6"}, {"tls_alert", "#8E4585"},
		{"tls_certificate_not_yet_valid", "#E0A8C8"}, {"tls_certificate_invalid", "#A0527D"},
		{"not_tls", "#D4A5C9"}, {"not_http2", "#6E4B8B"}, {"cancelled", Idle}, {"_OTHER", "#C9CCD1"},
		// Of this host itself.
		{"no_such_file", "#3E8E7E"}, {"permission_denied", "#2F6F8F"}, {"backlog_full", "#88B04B"},
		{"address_not_available", "#4F7942"}, {"address_family_not_supported", "#6B8E23"},
		{"resource_exhausted", "#A3A847"}, {"invalid_address", "#7F8C4F"},
		// Of READY transports that get no RPCs, and of policies.
		{"outlier_ejected", "#C2703D"}, {"health_check_failed", "#B83B5E"}, {"lb_policy", "#4C6A92"},
		{"connecting", Connecting}, // No failure yet.
	}

	Outcomes = Colors{
		{"ready", Good}, {"picked", Good}, {"failed", Bad}, {"deadline_exceeded", Bad}, {"cancelled", Idle},
		{"abandoned", "#6B7078"}, {"channel_closed", "#A9AEB6"}, {"interrupted", "#565B63"},
	}

	Phases = Colors{{"dial", Neutral}, {"handshake", Stalled}, {"settings", BackingOff}}
)

// Colored gives series their colours, by the names that their legends show.
func Colored(p *timeseries.PanelBuilder, of Colors) *timeseries.PanelBuilder {
	p.OverrideByName("none", fixed(Idle)) // What stands for nothing.
	for _, c := range of {
		p.OverrideByName(c.Name, fixed(c.Color))
	}
	return p
}

// ColoredByEnd gives series their colours by the last word of their names.
func ColoredByEnd(p *timeseries.PanelBuilder, of Colors) *timeseries.PanelBuilder {
	p.OverrideByRegexp("none ?", fixed(Idle)) // It has no last word.
	for _, c := range of {
		p.OverrideByRegexp(".* "+c.Name, fixed(c.Color))
	}
	return p
}

// Reasons of a wait.
var Reasons = Colors{
	{"name_resolution", Neutral}, {"connecting", Connecting}, {"policy", "#9B5FC0"}, {"stream_quota", BackingOff},
}

// Quantiles of durations.
var Quantiles = Colors{
	{"half within", Connecting}, {"99 % within", Neutral},
}

// Self are the series of redial itself.
var Self = Colors{
	{"queue", BackingOff}, {"waits", Stalled}, {"otlp", Bad}, {"traces", Bad}, {"metrics", Stalled}, {"left " +
		"out", BackingOff},
	{"events", Neutral}, {"pushed out", Idle}, {"most", Neutral}, {"least", Connecting}, {"largest", Neutral},
	{"slowest", Neutral}, {"middling", Connecting},
}
