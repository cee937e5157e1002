// Package guard keeps redial's faults from the observed client. Every function that gRPC calls does its own part in a
// [Guard], and passes on what gRPC gave it whatever becomes of that part.
package guard

import (
	"fmt"
	"runtime"
	"sync/atomic"
)

// Guard runs hooks until it is closed. It is safe for concurrent use.
type Guard struct {
	report func(error)
	closed atomic.Bool
}

// New returns a guard that reports the hooks' panics.
func New(report func(error)) *Guard { return &Guard{report: report} }

// Run runs a hook that has no result.
func (g *Guard) Run(hook func()) {
	if g.closed.Load() {
		return
	}
	defer g.recovered()
	hook()
}

// Value runs a hook and returns its result, or passThrough if the hook panics or the guard is closed.
func Value[T any](g *Guard, passThrough T, hook func() T) (result T) {
	result = passThrough
	if g.closed.Load() {
		return result
	}
	defer g.recovered()
	return hook()
}

// Close makes that hooks do not run any more. It reports whether they did until now.
func (g *Guard) Close() bool { return !g.closed.Swap(true) }

// Closed reports whether hooks do not run any more.
func (g *Guard) Closed() bool { return g.closed.Load() }

func (g *Guard) recovered() {
	if r := recover(); r != nil {
		trace := make([]byte, 16<<10) // Package runtime/debug may be initialised after package grpc.
		trace = trace[:runtime.Stack(trace, false)]
		g.report(fmt.Errorf(
			"redial: internal fault, the observed client is not affected, please report it: %v\n%s", r, trace))
	}
}
