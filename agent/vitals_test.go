package agent_test

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/otlp"
)

// The agent's own metrics say what its journal recorded and takes, and how many exports failed; 0 before any did.
func TestVitals(t *testing.T) {
	quickly(t)
	newReports(t)
	c := collect(t, "127.0.0.1:0")
	c.behave(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	a, err := agent.Start(t.Context(), endpoint(otlp.HTTPProtobuf, c.address))
	if err != nil {
		t.Fatal(err)
	}
	if have := number(t, a, "redial_journal_overwritten_total", ""); have != 0 {
		t.Errorf("%v events are overwritten, want 0", have)
	}
	failOnce(t, a, freeAddress(t))
	for name, label := range map[string]string{
		"redial_journal_events_total": "", "redial_journal_size_bytes": "",
		"redial_exports_failed_total": `redial_signal="traces"`,
	} {
		eventually(t, name, func() bool { return number(t, a, name, label) > 0 })
	}
	shutdown(t, a)
	if lines := metric(a, "redial_journal_size_bytes"); len(lines) > 0 {
		t.Errorf("after Shutdown: %v", lines)
	}
}

// number returns the value of the one metric of a name that has the label.
func number(t *testing.T, a *agent.Agent, name, label string) float64 {
	t.Helper()
	lines := slices.DeleteFunc(metric(a, name), func(line string) bool { return !strings.Contains(line, label) })
	if len(lines) != 1 {
		t.Fatalf("%s with %s: %v", name, label, lines)
	}
	value, err := strconv.ParseFloat(lines[0][strings.LastIndex(lines[0], " ")+1:], 64)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Two processes of one service do not write the same series: each has an instance id, unless the environment gives one.
func TestInstanceID(t *testing.T) {
	pattern := regexp.MustCompile(`service_instance_id="([^"]+)"`)
	id := func() string {
		a, err := agent.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer shutdown(t, a)
		found := pattern.FindStringSubmatch(strings.Join(metric(a, "target_info"), ""))
		if found == nil {
			t.Fatal("no service.instance.id")
		}
		return found[1]
	}
	if one, other := id(), id(); one == other {
		t.Errorf("two agents have the instance id %s", one)
	}
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=mine")
	if have := id(); have != "mine" {
		t.Errorf("service.instance.id is %s, the environment says mine", have)
	}
}
