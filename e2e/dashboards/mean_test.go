package dashboards_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A process began anew within a minute, and has as many observations as the one before: their mean is not known, where
// it was infinite, and the panel without an axis.
func TestMeanOfProcessThatBeganAnew(t *testing.T) {
	all, _ := queries(t)
	for _, c := range []struct{ panel, histogram, want string }{
		{"Lifetime of lost connections", "redial_transport_duration_seconds", `{redial_teardown_cause="none"}`},
		{"Backoff waits, in the mean", "redial_backoff_duration_seconds", `{}`},
	} {
		expr := find(t, all, "target.json", c.panel, "A").filled(anything, anything, time.Minute)
		const of = `{job="a", instance="b", grpc_target="c", redial_teardown_cause="goaway"}`
		file := filepath.Join(t.TempDir(), "test.yaml")
		text, err := json.Marshal(map[string]any{"evaluation_interval": minute.String(), "tests": []any{map[string]any{
			"interval": minute.String(),
			"input_series": []any{
				map[string]string{"series": c.histogram + "_count" + of, "values": "1 1"},
				map[string]string{"series": c.histogram + "_sum" + of, "values": "25 83"},
			},
			"promql_expr_test": []any{map[string]any{"expr": expr, "eval_time": minute.String(), "exp_samples": []any{
				map[string]any{"labels": c.want, "value": 0},
			}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(c.panel, func(t *testing.T) { runProgram(t, "promtool", "test", "rules", file) })
	}
}
