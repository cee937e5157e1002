package env

import "strings"

// Signal is traces or metrics, as OpenTelemetry's variables name it.
type Signal string

const (
	Traces  Signal = "TRACES"
	Metrics Signal = "METRICS"
)

// Path is where an OTLP collector takes the signal over HTTP.
func (s Signal) Path() string { return "/v1/" + strings.ToLower(string(s)) }

const prefix = "OTEL_EXPORTER_OTLP_"

// What OTLP's variables set: OTEL_EXPORTER_OTLP_ENDPOINT for all signals, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT for one.
const (
	OTLPProtocol = "PROTOCOL"
	OTLPEndpoint = "ENDPOINT"
	OTLPHeaders  = "HEADERS"
)

// OTLPVariables returns the variables that the official exporter of the signal reads, but for those that are replaced
// by something else.
func (s Signal) OTLPVariables(replaced map[string]bool) (all []Variable) {
	for _, p := range []string{prefix, prefix + string(s) + "_"} {
		for _, v := range []Variable{
			{OTLPProtocol, OneOf("grpc", "http/protobuf")},
			{OTLPEndpoint, URL},
			{OTLPHeaders, Pairs},
			{"TIMEOUT", Whole(0, MaxMilliseconds, "milliseconds")},
			{"COMPRESSION", OneOf("gzip", "none")},
			{"INSECURE", Bool},
			{"CERTIFICATE", File},
			{"CLIENT_CERTIFICATE", File},
			{"CLIENT_KEY", File},
		} {
			if !replaced[v.Name] {
				all = append(all, Variable{p + v.Name, v.Check})
			}
		}
	}
	if s == Metrics {
		all = append(all,
			Variable{prefix + "METRICS_TEMPORALITY_PREFERENCE", AnyCase(OneOf("cumulative", "delta", "lowmemory"))},
			Variable{prefix + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
				AnyCase(OneOf("explicit_bucket_histogram", "base2_exponential_bucket_histogram"))})
	}
	return all
}

// LookupOTLP returns the value of the signal's own variable, or else of the one for all signals.
func (s Signal) LookupOTLP(what string) (string, bool) {
	if value, ok := Lookup(prefix + string(s) + "_" + what); ok {
		return value, true
	}
	return Lookup(prefix + what)
}
