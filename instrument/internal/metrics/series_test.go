package metrics

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

var (
	head      = event.Header{Time: time.Unix(1, 0), Target: "dns:///series"}
	start     = time.Unix(0, 0)
	errFailed = errors.New("a failure")
)

// everything is every event that makes a series of its own, with all the values that the lifecycle can give it, and
// more HTTP/2 error codes than there are.
func everything() (all []event.Event) {
	for _, o := range []event.Outcome{
		event.OutcomeReady, event.OutcomeAbandoned, event.OutcomeChannelClosed, event.OutcomeInterrupted,
	} {
		for _, t := range []event.Trigger{event.TriggerFirst, event.TriggerRedial, event.TriggerWake} {
			all = append(all, event.ConnectEnded{Header: head, Start: start, Trigger: t, Outcome: o})
		}
		all = append(all, event.AttemptEnded{Header: head, Start: start, Outcome: o})
	}
	all = append(all, event.AttemptEnded{Header: head, Start: start, Outcome: event.OutcomeCancelled})
	for _, phase := range []event.Phase{event.PhaseDial, event.PhaseHandshake, event.PhaseSettings} {
		all = append(all, event.PhaseEnded{Header: head, Start: start, Phase: phase})
		for _, class := range failure.Types {
			all = append(all,
				event.AttemptEnded{Header: head, Start: start, Outcome: event.OutcomeFailed, Phase: phase, Err: errFailed, ErrorType: class},
				event.PhaseEnded{Header: head, Start: start, Phase: phase, Err: errFailed, ErrorType: class})
		}
	}
	all = append(all, event.AttemptEnded{Header: head, Start: start, Outcome: event.OutcomeFailed, Err: errFailed,
		ErrorType: failure.HealthCheckFailed})
	for _, class := range slices.Concat(failure.Types, failure.HealthTypes, []string{failure.LBPolicy}) {
		all = append(all, event.RPCRefused{Header: head, Context: context.Background(), Err: errFailed, ErrorType: class})
	}
	for _, o := range []event.Outcome{event.OutcomeElapsed, event.OutcomeReset, event.OutcomeShutdown} {
		all = append(all, event.BackoffEnded{Header: head, Start: start, Outcome: o})
	}
	for _, c := range []event.Cause{
		event.CausePeerClosed, event.CauseConnectionReset, event.CauseKeepaliveTimeout, event.CauseTimedOut,
		event.CauseIdleTimeout,
		event.CauseAddressRemoved, event.CauseLBPolicy, event.CauseChannelClosed, event.CauseProtocolError,
		event.CauseUnknown,
	} {
		all = append(all, event.TransportEnded{Header: head, Start: start, Cause: c, Interrupted: 1})
	}
	codes := failure.HTTP2ErrorCodes
	for n := range 100 {
		codes = append(codes, fmt.Sprintf("unknown error code 0x%x", 100+n))
	}
	for _, code := range codes {
		for _, c := range []event.Cause{event.CauseGoAway, event.CauseTooManyPings} {
			all = append(all, event.TransportEnded{Header: head, Start: start, Cause: c, HTTP2ErrorCode: code, Interrupted: 1})
		}
	}
	for _, o := range []event.Outcome{
		event.OutcomePicked, event.OutcomeFailed, event.OutcomeCancelled, event.OutcomeDeadlineExceeded,
		event.OutcomeInterrupted, event.OutcomeContinued,
	} {
		for _, reason := range event.WaitReasons {
			all = append(all, event.PickWaitEnded{
				Header: head, Context: context.Background(), Start: start, Outcome: o, Reason: reason,
			})
		}
	}
	for _, o := range []event.Outcome{event.OutcomeReady, event.OutcomeFailed, event.OutcomeCancelled} {
		all = append(all, event.Resolved{Header: head, Start: start, Outcome: o, Addresses: 1})
	}
	return all
}

// everyCount returns counts with every class of failure.
func everyCount() sample.ByTarget {
	now := sample.ByTarget{}
	of := now.Of(head.Target)
	of.NotAfter = start
	of.Spread.See(1)
	of.Disconnected[failure.HealthCheckFailed] = 1 // Before it was ever READY.
	for _, class := range failure.Types {
		of.Disconnected[class] = 1
	}
	for _, class := range failure.HealthTypes {
		of.Unhealthy[class] = 1
	}
	return now
}

// A target has no more series than docs/signals.md says, whatever happens to it.
func TestSeriesOfATarget(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	s, err := New(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("series"))
	if err = errors.Join(err, s.Observe(everyCount)); err != nil {
		t.Fatal(err)
	}
	s.ChannelOpened(head.Target, 1)
	for _, e := range everything() {
		s.Handle(context.Background(), e)
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "signals.md"))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, m := range rm.ScopeMetrics[0].Metrics {
		row := regexp.MustCompile("(?m)^\\| `" + regexp.QuoteMeta(m.Name) + "` \\|.*\\| (\\d+) \\|$").FindSubmatch(page)
		if row == nil {
			t.Errorf("docs/signals.md gives no bound for %s", m.Name)
			continue
		}
		if have := points(m.Data); strconv.Itoa(have) != string(row[1]) {
			t.Errorf("%s has %d series, docs/signals.md says %s", m.Name, have, row[1])
		}
		total += points(m.Data)
	}
	if want := fmt.Sprintf("A target has at most %d series", total); !regexp.MustCompile(want).Match(page) {
		t.Errorf("docs/signals.md does not say %q", want)
	}
}

func points(a metricdata.Aggregation) int {
	switch data := a.(type) {
	case metricdata.Histogram[float64]:
		return len(data.DataPoints)
	case metricdata.Sum[int64]:
		return len(data.DataPoints)
	case metricdata.Gauge[int64]:
		return len(data.DataPoints)
	case metricdata.Gauge[float64]:
		return len(data.DataPoints)
	}
	return 0
}
