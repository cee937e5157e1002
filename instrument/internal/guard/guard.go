// Package guard keeps a panic where it happened. Every function that gRPC calls does redial's part in a [Guard], and
// passes on what gRPC gave it whatever becomes of that part; what is not redial's own (a sink, a meter, a tracer) is
// called in one too.
package guard

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/redial-dev/redial/internal/report"
)

// Guard runs functions until it is closed. It is safe for concurrent use.
type Guard struct {
	what   string
	faults *report.Limiter
	closed atomic.Bool
}

// New returns a guard that reports panics. what begins the report: it says what panicked, and what to do about it.
func New(what string, faults *report.Limiter) *Guard { return &Guard{what: what, faults: faults} }

// Run runs a function that has no result.
func (g *Guard) Run(hook func()) {
	if g.closed.Load() {
		return
	}
	defer g.recovered()
	hook()
}

// Value runs a function and returns its result, or passThrough if the function panics or the guard is closed.
func Value[T any](g *Guard, passThrough T, hook func() T) (result T) {
	result = passThrough
	if g.closed.Load() {
		return result
	}
	defer g.recovered()
	return hook()
}

// Catch runs a function, and returns its error, or its panic as one.
func Catch(function func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it panicked at %s: %v", panicked(), r)
		}
	}()
	return function()
}

// Close makes functions not run any more. It reports whether they did until now.
func (g *Guard) Close() bool { return !g.closed.Swap(true) }

// Closed reports whether functions do not run any more.
func (g *Guard) Closed() bool { return g.closed.Load() }

func (g *Guard) recovered() {
	r := recover()
	if r == nil {
		return
	}
	trace := make([]byte, 16<<10) // Package runtime/debug may be initialised after package grpc.
	trace = trace[:runtime.Stack(trace, false)]
	g.faults.Report(report.Kind(g.what+" at "+panicked()), fmt.Errorf("redial: %s: %v\n%s", g.what, r, trace))
}

// panicked returns where the panic that is being recovered began.
func panicked() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	began := false
	for {
		frame, more := frames.Next()
		if began && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		}
		began = began || frame.Function == "runtime.gopanic"
		if !more {
			return "an unknown place"
		}
	}
}
