package agent

import (
	"context"
	"log"
	"net"
	"net/http"
	"slices"
	"testing"

	"go.opentelemetry.io/otel"

	"github.com/redial-dev/redial/internal/report"
)

// UnknownVariables is unknownVariables.
var UnknownVariables = unknownVariables

// The bounds of what the agent serves.
const (
	MaxAnswers = maxAnswers
	MaxConns   = maxConns
	MaxHeader  = maxHeader
	ReadTime   = readTime
	WriteTime  = writeTime
	IdleTime   = idleTime
)

// Serve serves what a listener accepts as the agent does, until the function that it returns is called.
func Serve(l net.Listener, h http.Handler) (shutdown func(context.Context) error) {
	s := &server{listener: l, limiter: report.New(otel.Handle), done: make(chan error, 1)}
	s.serve(h)
	return s.shutdown
}

// Limited is limited.
var Limited = limited

// Conns bounds the connections of a server.
type Conns struct{ conns }

// Changed is what net/http calls for each connection.
func (c *Conns) Changed(conn net.Conn, state http.ConnState) { c.conns.changed(conn, state) }

// ServerLog returns the log of a server's errors.
func ServerLog(t *testing.T) *log.Logger {
	s, err := listen(t.Context(), "127.0.0.1:0", report.New(otel.Handle))
	if err != nil {
		t.Fatal(err)
	}
	s.serve(http.NotFoundHandler())
	t.Cleanup(func() {
		if err := s.shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s.http.ErrorLog
}

// Variables returns the names of redial's environment variables, and of those of OpenTelemetry that the agent reads or
// checks itself and docs/agent.md lists.
func Variables() (names []string) {
	for _, s := range settings {
		names = append(names, s.variable)
	}
	for _, v := range slices.Concat(
		always, ofResource, ofTraces, ofSpans, ofRatio, ofMetrics, ofExports, ofPrometheus,
	) {
		names = append(names, v.Name)
	}
	return names
}
