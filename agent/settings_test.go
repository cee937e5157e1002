package agent_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	noopmetric "go.opentelemetry.io/otel/metric/noop"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/otlp"
)

// bad is a value that is not allowed, and what the error says of it.
type bad struct{ name, value, want string }

// A value that is not allowed stops Start, with an error that names the variable, the value and what is allowed.
func TestBadEnvironment(t *testing.T) {
	for _, c := range []bad{
		{"REDIAL_LISTEN", "nonsense", `REDIAL_LISTEN="nonsense": want host:port`},
		{"REDIAL_LISTEN", "127.0.0.1:70000", `REDIAL_LISTEN="127.0.0.1:70000": want host:port`},
		{"REDIAL_JOURNAL_SIZE", "much", `REDIAL_JOURNAL_SIZE="much": want a number of bytes`},
		{"REDIAL_JOURNAL_SIZE", "1KiB", `from 64KiB to 1024MiB`},
		{"REDIAL_JOURNAL_SIZE", "99999999999MiB", `REDIAL_JOURNAL_SIZE="99999999999MiB": want`},
		{"REDIAL_JOURNAL_SIZE", "4MB", `REDIAL_JOURNAL_SIZE="4MB": want`},
		{"REDIAL_JOURNAL_SIZE", "-17592186044415MiB", `REDIAL_JOURNAL_SIZE="-17592186044415MiB": want`},
		{"REDIAL_SPAN_RATE", "-1", `REDIAL_SPAN_RATE="-1": want a number of spans a second`},
		{"REDIAL_MAX_TARGETS", "many", `REDIAL_MAX_TARGETS="many": want a number of targets`},
		{"REDIAL_SPAN_RATE", "NaN", `REDIAL_SPAN_RATE="NaN": want`},
		{"REDIAL_TARGETS", "dns:///[", `REDIAL_TARGETS="dns:///[": want patterns`},
		{"REDIAL_TARGETS", ",", `REDIAL_TARGETS=",": want patterns`},
		{"OTEL_SDK_DISABLED", "perhaps", `OTEL_SDK_DISABLED="perhaps": want one of true, false`},
		{"OTEL_TRACES_EXPORTER", "zipkin", `OTEL_TRACES_EXPORTER="zipkin": want one of otlp, console, none`},
		{"OTEL_TRACES_EXPORTER", ",", `OTEL_TRACES_EXPORTER=",": want one of otlp, console, none`},
		{"OTEL_METRICS_EXPORTER", "otlp,none", `OTEL_METRICS_EXPORTER="otlp,none": want none alone`},
		{"OTEL_TRACES_EXPORTER", "otlp, otlp", `OTEL_TRACES_EXPORTER="otlp, otlp": want otlp once`},
		{"OTEL_RESOURCE_ATTRIBUTES", "nonsense", `OTEL_RESOURCE_ATTRIBUTES: want key=value pairs`},
		{"OTEL_RESOURCE_ATTRIBUTES", "team=%ff", `OTEL_RESOURCE_ATTRIBUTES: want key=value pairs`},
		{"OTEL_SERVICE_NAME", "check\xffout", `OTEL_SERVICE_NAME="check\xffout": want a text in UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) { refuse(t, c) })
	}
}

// Likewise where spans and metrics are sent to a collector.
func TestBadExportEnvironment(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+freeAddress(t))
	const huge = "9223372036854775807"
	for _, c := range []bad{
		{"OTEL_TRACES_SAMPLER", "sometimes", `OTEL_TRACES_SAMPLER="sometimes": want one of always_on`},
		{"OTEL_BSP_MAX_QUEUE_SIZE", "0", `OTEL_BSP_MAX_QUEUE_SIZE="0": want a whole number of spans, from 1`},
		{"OTEL_BSP_MAX_QUEUE_SIZE", huge, `OTEL_BSP_MAX_QUEUE_SIZE="` + huge + `": want a whole number of spans`},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", huge, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE="` + huge + `": want`},
		{"OTEL_BSP_SCHEDULE_DELAY", huge, `OTEL_BSP_SCHEDULE_DELAY="` + huge + `": want a whole number of`},
		{"OTEL_BSP_EXPORT_TIMEOUT", huge, `OTEL_BSP_EXPORT_TIMEOUT="` + huge + `": want`},
		{"OTEL_METRIC_EXPORT_INTERVAL", "1m", `OTEL_METRIC_EXPORT_INTERVAL="1m": want a whole number of milliseconds`},
		{"OTEL_METRIC_EXPORT_INTERVAL", huge, `OTEL_METRIC_EXPORT_INTERVAL="` + huge + `": want`},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", `OTEL_EXPORTER_OTLP_PROTOCOL="http/json": want one of grpc, http`},
		{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http", `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http": want`},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317", `OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4317": want a URL`},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", "soon", `OTEL_EXPORTER_OTLP_TIMEOUT="soon": want`},
		{"OTEL_EXPORTER_OTLP_TIMEOUT", huge, `OTEL_EXPORTER_OTLP_TIMEOUT="` + huge + `": want`},
		{"OTEL_EXPORTER_OTLP_COMPRESSION", "zip", `OTEL_EXPORTER_OTLP_COMPRESSION="zip": want one of gzip, none`},
		{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such", `OTEL_EXPORTER_OTLP_CERTIFICATE="/no/such": want a file`},
		{"OTEL_EXPORTER_OTLP_HEADERS", "secret", `OTEL_EXPORTER_OTLP_HEADERS: want key=value pairs`},
	} {
		t.Run(c.name, func(t *testing.T) { refuse(t, c) })
	}
	t.Run("OTEL_TRACES_SAMPLER_ARG", func(t *testing.T) {
		t.Setenv("OTEL_TRACES_SAMPLER", "traceidratio")
		refuse(t, bad{"OTEL_TRACES_SAMPLER_ARG", "2", `OTEL_TRACES_SAMPLER_ARG="2": want a number from 0 to 1`})
	})
	t.Run("OTEL_EXPORTER_PROMETHEUS_PORT", func(t *testing.T) {
		t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
		refuse(t, bad{"OTEL_EXPORTER_PROMETHEUS_PORT", "70000",
			`OTEL_EXPORTER_PROMETHEUS_PORT="70000": want a port, from 0 to 65535`})
	})
}

func refuse(t *testing.T, c bad) {
	t.Helper()
	t.Setenv(c.name, c.value)
	a, err := agent.Start(t.Context())
	if err == nil {
		shutdown(t, a)
		t.Fatalf("%s=%q was taken", c.name, c.value)
	}
	if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "redial agent: ") {
		t.Errorf("%v, want %q", err, c.want)
	}
	if strings.Contains(c.name, "HEADERS") && strings.Contains(err.Error(), c.value) {
		t.Errorf("the error shows a header: %v", err)
	}
}

// A variable that nothing reads is not judged: an option is in its place, a provider of the user's own, or nothing goes
// where it matters.
func TestUnreadEnvironment(t *testing.T) {
	nobody := "http://" + freeAddress(t)
	for name, c := range map[string]struct {
		environment map[string]string
		options     []agent.Option
	}{
		"an option wins": {
			map[string]string{"REDIAL_LISTEN": "nonsense", "REDIAL_JOURNAL_SIZE": "much", "REDIAL_SPAN_RATE": "fast"},
			[]agent.Option{agent.WithListen("127.0.0.1:0"), agent.WithJournalSize(64 << 10), agent.WithSpanRate(1)},
		},
		"an option of OTLP wins": {
			map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense", "OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon",
				"OTEL_EXPORTER_OTLP_HEADERS": "secret"},
			[]agent.Option{agent.WithOTLP(otlp.WithEndpointURL(nobody), otlp.WithProtocol(otlp.GRPC),
				otlp.WithHeaders(map[string]string{"a": "b"}))},
		},
		"the SDK is disabled": {
			map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "zipkin",
				"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense", "OTEL_RESOURCE_ATTRIBUTES": "nonsense"}, nil,
		},
		"the user's own providers": {
			map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "zipkin",
				"OTEL_BSP_SCHEDULE_DELAY": "soon", "OTEL_RESOURCE_ATTRIBUTES": "nonsense"},
			[]agent.Option{agent.WithTracerProvider(nooptrace.NewTracerProvider()),
				agent.WithMeterProvider(noopmetric.NewMeterProvider())},
		},
		"nothing is sent": {
			map[string]string{"OTEL_TRACES_SAMPLER": "sometimes", "OTEL_BSP_MAX_QUEUE_SIZE": "many",
				"OTEL_METRIC_EXPORT_INTERVAL": "1m", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.environment {
				t.Setenv(name, value)
			}
			a, err := agent.Start(t.Context(), c.options...)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // Nobody takes what is left.
			_ = a.Shutdown(ctx)
		})
	}
}

// A name that nothing reads is reported with the nearest that is known, but for those of a service called redial.
func TestUnknownVariables(t *testing.T) {
	errs := agent.UnknownVariables([]string{"REDIAL_LISTEN=:0", "REDIAL_SPANRATE=1", "REDIAL_SERVICE_HOST=10.0.0.1",
		"REDIAL_PORT=tcp://10.0.0.1:80", "REDIAL_PORT_80_TCP_ADDR=10.0.0.1", "HOME=/", "REDIAL_TARGET=x"})
	have := []string{}
	for _, err := range errs {
		have = append(have, err.Error())
	}
	want := []string{
		"redial agent: unknown variable REDIAL_SPANRATE, which has no effect: do you mean REDIAL_SPAN_RATE?",
		"redial agent: unknown variable REDIAL_TARGET, which has no effect: do you mean REDIAL_TARGETS?",
	}
	if !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

// All that is wrong is reported at once, and options are checked as variables are.
func TestBadOptions(t *testing.T) {
	t.Setenv("REDIAL_TARGETS", "[")
	_, err := agent.Start(t.Context(), agent.WithListen("here"), agent.WithJournalSize(-1),
		agent.WithSpanRate(math.Inf(1)), agent.WithMaxTargets(-1), nil, agent.WithRegistry(nil),
		agent.WithOTLP(otlp.WithProtocol("carrier pigeon")))
	if err == nil {
		t.Fatal("nothing is said")
	}
	for _, want := range []string{`REDIAL_TARGETS="["`, `WithListen="here"`, `WithJournalSize="-1"`,
		`WithSpanRate="+Inf"`, `WithMaxTargets="-1"`, `WithRegistry(nil)`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s in it", err, want)
		}
	}
	t.Setenv("REDIAL_TARGETS", "")
	if _, err := agent.Start(t.Context(), agent.WithOTLP(otlp.WithProtocol("carrier pigeon"))); err == nil ||
		!strings.Contains(err.Error(), `OTLP protocol "carrier pigeon": want grpc or http/protobuf`) {
		t.Errorf("a protocol that does not exist: %v", err)
	}
}

// Options win over the environment.
func TestOptionsWin(t *testing.T) {
	t.Setenv("REDIAL_JOURNAL_SIZE", "1MiB")
	t.Setenv("REDIAL_LISTEN", freeAddress(t))
	mine := freeAddress(t)
	a := start(t, agent.WithJournalSize(128<<10), agent.WithListen(mine))
	if have := a.JournalStats().Size; have != 128<<10 {
		t.Errorf("the journal's size is %d", have)
	}
	if have := a.Addr().String(); have != mine {
		t.Errorf("it listens on %s, want %s", have, mine)
	}
}

// OTEL_METRICS_EXPORTER=prometheus listens where OpenTelemetry says.
func TestPrometheusExporter(t *testing.T) {
	_, port, _ := strings.Cut(freeAddress(t), ":")
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
	if have, want := start(t).Addr().String(), "127.0.0.1:"+port; have != want {
		t.Errorf("it listens on %s, want %s", have, want)
	}
}

// Targets that no pattern matches have one name in metrics.
func TestTargets(t *testing.T) {
	t.Setenv("REDIAL_TARGETS", "dns:///127.0.0.1:*, dns:///kept.*")
	a := start(t)
	session(t, a, backend(t))
	failOnce(t, a, "passthrough:///"+freeAddress(t))
	eventually(t, "one target that is kept and one that is not", func() bool {
		var targets []string
		for _, l := range metric(a, "redial_connect_duration_seconds_count") {
			targets = append(targets, regexp.MustCompile(`grpc_target="([^:"]+)`).FindStringSubmatch(l)[1])
		}
		slices.Sort(targets)
		return slices.Equal(targets, []string{"dns", "other"})
	})
}

// docs/agent.md lists each of redial's own variables, and the code knows each that is listed.
func TestVariablesPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "agent.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:REDIAL|OTEL)_[A-Z_]+)`").FindAllSubmatch(page, -1) {
		listed[string(m[1])] = true
	}
	known := map[string]bool{}
	for _, name := range agent.Variables() {
		known[name] = true
		if !listed[name] {
			t.Errorf("docs/agent.md does not list %s", name)
		}
	}
	for name := range listed {
		if !known[name] {
			t.Errorf("docs/agent.md lists %s, which nothing reads", name)
		}
	}
}
