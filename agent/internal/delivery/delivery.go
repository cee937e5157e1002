// Package delivery stands between the OpenTelemetry SDK and an exporter that may be slow or fail: it bounds what waits,
// counts what is lost, reports failures a few times and not each, and can give up.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redial-dev/redial/internal/report"
	"github.com/redial-dev/redial/internal/retry"
	"github.com/redial-dev/redial/internal/text"
)

// slow is how long an export may take before it is reported as one that does not get through.
const slow = 8 * time.Second

// The kinds of reports. Both signals may fail for reasons of their own.
const (
	ofSpans   report.Kind = "export of spans"
	ofMetrics report.Kind = "export of metrics"
	ofQueue   report.Kind = "queue of spans"
)

// Reporter counts what is lost and reports failures. Its methods may be called from any goroutine.
type Reporter struct {
	count  func(n int64)
	limit  *report.Limiter
	stop   context.Context // Done when exports are given up.
	giveUp context.CancelFunc

	mu      sync.Mutex
	given   bool // Exports are given up.
	exports sync.WaitGroup

	failedTraces, failedMetrics atomic.Int64
}

// Failures counts exports that failed after all retries.
type Failures struct{ Traces, Metrics int64 }

// Failed returns how many exports have failed.
func (r *Reporter) Failed() Failures { return Failures{r.failedTraces.Load(), r.failedMetrics.Load()} }

// NewReporter returns a reporter that hands the number of spans that are lost to count, and failures to the limiter.
func NewReporter(count func(n int64), limit *report.Limiter) *Reporter {
	r := &Reporter{count: count, limit: limit}
	r.stop, r.giveUp = context.WithCancel(context.Background())
	return r
}

// giveUpTime is how long an export may take to end once it is given up.
const giveUpTime = 500 * time.Millisecond

var errGivenUp = errors.New("the agent is shut down")

// GiveUp ends the exports that go on, for which it waits a little, and all later ones at once.
func (r *Reporter) GiveUp() {
	r.mu.Lock()
	r.given = true
	r.mu.Unlock()
	r.giveUp()
	ended := make(chan struct{})
	go func() {
		r.exports.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(giveUpTime):
	}
}

// begin reports whether an export may begin.
func (r *Reporter) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.given {
		r.exports.Add(1)
	}
	return !r.given
}

// Flush calls a function that exports, until exports are given up. Failures are reported by the export.
func (r *Reporter) Flush(flush func(context.Context) error) { _ = flush(r.stop) }

// report reports an error, whose text a collector may have written.
func (r *Reporter) report(kind report.Kind, err error) {
	clean, _ := text.Cleaner{}.Error(err)
	r.limit.Report(kind, clean)
}

// lost counts and reports spans that are lost.
func (r *Reporter) lost(kind report.Kind, n int, err error) {
	r.count(int64(n))
	spans := "spans were"
	if n == 1 {
		spans = "span was"
	}
	r.report(kind, fmt.Errorf("redial: %d %s lost, which redial.events.dropped counts: %w", n, spans, err))
}

// export runs an export, which ends when exports are given up too, and reports one that takes long. The error of one
// that fails goes to failed.
func (r *Reporter) export(
	ctx context.Context, kind report.Kind, run func(context.Context) error, failed func(error),
) {
	if !r.begin() {
		failed(errGivenUp)
		return
	}
	defer r.exports.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.stop, cancel)()
	var last lastError
	defer time.AfterFunc(slow, func() {
		r.report(kind, fmt.Errorf("redial: an %s has not succeeded for %v; it is still being tried: %w",
			kind, slow, last.get()))
	}).Stop()
	if err := run(retry.WithNote(ctx, last.set)); err != nil {
		if kind == ofSpans {
			r.failedTraces.Add(1)
		} else {
			r.failedMetrics.Add(1)
		}
		failed(err)
	}
}

// lastError is why the last try of an export failed.
type lastError struct {
	mu  sync.Mutex
	err error
}

func (l *lastError) set(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *lastError) get() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return errUnanswered
	}
	return l.err
}
