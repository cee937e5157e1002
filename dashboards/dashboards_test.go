package dashboards_test

import (
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/redial-dev/redial/dashboards"
)

// A dashboard can be provisioned and imported as it is: it has a uid by which links find it, and nothing that only one
// Grafana knows.
func TestDashboardsAreForAnyGrafana(t *testing.T) {
	files, err := fs.Glob(dashboards.FS, "*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		text, err := dashboards.FS.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d map[string]any
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d["uid"] == "" || d["uid"] == nil || d["title"] == nil {
			t.Errorf("%s has no uid or no title", file)
		}
		for _, key := range []string{"id", "__inputs", "__requires"} {
			if value, ok := d[key]; ok {
				t.Errorf("%s has %s: %v", file, key, value)
			}
		}
	}
}
