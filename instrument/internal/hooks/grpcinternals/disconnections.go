package grpcinternals

import estats "google.golang.org/grpc/experimental/stats"

// Names of gRFC A94. gRPC exports neither.
const (
	disconnections  = "grpc.subchannel.disconnections"
	disconnectError = "grpc.disconnect_error"
)

// DisconnectError reports whether gRPC records with this metric that it lost a transport, and returns why: the value
// of the label grpc.disconnect_error.
func DisconnectError(metric *estats.MetricDescriptor, labels []string) (why string, lost bool) {
	if metric.Name != disconnections {
		return "", false
	}
	for i, value := range labels {
		if labelKey(metric, i) == disconnectError {
			return value, true
		}
	}
	return "", true
}

func labelKey(d *estats.MetricDescriptor, i int) string {
	if i < len(d.Labels) {
		return d.Labels[i]
	}
	if i -= len(d.Labels); i < len(d.OptionalLabels) {
		return d.OptionalLabels[i]
	}
	return ""
}
