package grpcinternals

import (
	"slices"

	estats "google.golang.org/grpc/experimental/stats"

	"github.com/redial-dev/redial/instrument/internal/failure"
)

// DisconnectionNames are those of gRFC A94. gRPC exports none of them. It counts a disconnection before it closes the
// connection, whether the peer, the network or this side ended it.
//
// Tried on grpc-go 1.84 and 1.85.
var DisconnectionNames = struct{ Metric, Error string }{
	"grpc.subchannel.disconnections", "grpc.disconnect_error",
}

// disconnectionsCounted reports whether gRPC has the metric, with the label that says why.
func disconnectionsCounted() bool {
	d := estats.DescriptorForMetric(DisconnectionNames.Metric)
	return d != nil && slices.Contains(slices.Concat(d.Labels, d.OptionalLabels), DisconnectionNames.Error)
}

// DisconnectError reports whether gRPC records with this metric that it lost a transport, and returns why: the value
// of the label grpc.disconnect_error. It is known unless gRPC has a word that redial does not know.
func DisconnectError(metric *estats.MetricDescriptor, labels []string) (why string, lost, known bool) {
	if metric.Name != DisconnectionNames.Metric {
		return "", false, true
	}
	for i, value := range labels {
		if labelKey(metric, i) == DisconnectionNames.Error {
			return value, true, failure.IsDisconnectError(value)
		}
	}
	return "", true, false
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
