package agent

import (
	"slices"
)

// UnknownVariables is unknownVariables.
var UnknownVariables = unknownVariables

// The bounds of what the agent serves.
const (
	MaxAnswers = maxAnswers
	MaxConns   = maxConns
)

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
