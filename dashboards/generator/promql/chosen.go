package promql

import (
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// variables are the matchers that a dashboard's variables stand for.
var variables = []struct{ label, variable string }{
	{"job", "$job"}, {"instance", "$instance"}, {"grpc_target", "$target"},
}

// Chosen returns the expression of what a dashboard's variables choose: each selector that has the label gets the
// matcher. A matcher that is there already stays alone.
func (s *Signals) Chosen(expr string) (string, error) {
	if err := s.Check(expr); err != nil {
		return "", err
	}
	parsed, err := Parse(expr)
	if err != nil {
		return "", err
	}
	for _, selector := range selectors(parsed) {
		for _, v := range variables {
			if !s.has(selector.Name, v.label) ||
				slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == v.label }) {
				continue
			}
			m, err := labels.NewMatcher(labels.MatchRegexp, v.label, v.variable)
			if err != nil {
				return "", fmt.Errorf("choose by %s: %w", v.variable, err)
			}
			selector.LabelMatchers = append(selector.LabelMatchers, m)
		}
	}
	return text(parsed), nil
}
