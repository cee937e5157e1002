package agent_test

import (
	"strings"
	"testing"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument/event"
)

// A healthy target costs few series and bytes in each scrape: a fleet has millions of them. docs/scale.md has the sums.
func TestWeightOfHealthyTarget(t *testing.T) {
	for name, c := range map[string]struct {
		accept        string
		options       []agent.Option
		series, bytes int
	}{
		"classic": {"application/openmetrics-text", nil, 60, 15_000},
		"native": {
			"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
			[]agent.Option{agent.WithPrometheus(prometheus.WithNativeHistograms())}, 0, 5_000,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, c.options...)
			cc := dial(t, a, backend(t))
			call(t, cc)
			eventually(t, "the transport", func() bool {
				return len(a.Events(agent.Query{Kind: event.KindReady})) == 1
			})
			body := get(a.Handler(), "/metrics", "Accept", c.accept).Body.String()
			series := 0
			for line := range strings.Lines(body) {
				if strings.Contains(line, `grpc_target="`) {
					series++
				}
			}
			t.Logf("%d series, %d bytes", series, len(body))
			if !strings.Contains(body, "redial_connect_duration") {
				t.Error("the target is not in it")
			}
			if c.series > 0 && series > c.series || len(body) > c.bytes {
				t.Errorf("%d series and %d bytes, want %d and %d at most", series, len(body), c.series, c.bytes)
			}
			if err := cc.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
