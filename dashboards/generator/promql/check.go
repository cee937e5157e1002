package promql

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Parse parses an expression, in which Grafana's variables of time may stand for durations.
func Parse(expr string) (parser.Expr, error) {
	for name, stand := range durations {
		expr = strings.ReplaceAll(expr, name, stand)
	}
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", expr, err)
	}
	return parsed, nil
}

// Format checks an expression, and prints it for people.
func (s *Signals) Format(expr string) (string, error) {
	if err := s.Check(expr); err != nil {
		return "", err
	}
	parsed, err := Parse(expr)
	if err != nil {
		return "", err
	}
	return text(parsed), nil
}

// durations stand for variables while an expression is parsed; nobody would write these.
var durations = map[string]string{"$__rate_interval": "7ms", "$__interval": "11ms", "$__range": "13ms"}

// text prints an expression, with the variables back in their places.
func text(e parser.Expr) string {
	s := parser.Prettify(e)
	for name, stand := range durations {
		s = regexp.MustCompile(`\b`+stand+`\b`).ReplaceAllLiteralString(s, name)
	}
	return s
}

// Check returns what an expression names that redial does not have: a metric, a label of one, a value of a label.
func (s *Signals) Check(expr string) error {
	parsed, err := Parse(expr)
	if err != nil {
		return err
	}
	var errs []error
	known := []string{}
	for _, selector := range selectors(parsed) {
		if _, ok := s.labels[selector.Name]; !ok {
			errs = append(errs, fmt.Errorf("redial has no metric %s", selector.Name))
			continue
		}
		known = append(known, s.labels[selector.Name]...)
		for _, m := range selector.LabelMatchers {
			errs = append(errs, s.checkMatcher(selector.Name, m))
		}
	}
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		for _, label := range labelsOf(n) {
			if !slices.Contains(known, label) {
				errs = append(errs, fmt.Errorf("no metric of the expression has the label %s", label))
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", expr, err)
	}
	return nil
}

var words = regexp.MustCompile(`^[a-z0-9_]+(\|[a-z0-9_]+)*$`)

func (s *Signals) checkMatcher(metric string, m *labels.Matcher) error {
	if m.Name == model.MetricNameLabel {
		return nil
	}
	if !s.has(metric, m.Name) {
		return fmt.Errorf("%s has no label %s", metric, m.Name)
	}
	if m.Name == labels.BucketLabel || !words.MatchString(m.Value) {
		return nil // A number, a variable, or any value.
	}
	for _, v := range strings.Split(m.Value, "|") {
		if !s.values[v] {
			return fmt.Errorf("%s of %s is never %q", m.Name, metric, v)
		}
	}
	return nil
}

// labelsOf returns the labels that a node groups or matches by.
func labelsOf(n parser.Node) []string {
	switch n := n.(type) {
	case *parser.AggregateExpr:
		return n.Grouping
	case *parser.BinaryExpr:
		if n.VectorMatching != nil {
			return append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...)
		}
	}
	return nil
}

func selectors(e parser.Expr) (all []*parser.VectorSelector) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if selector, ok := n.(*parser.VectorSelector); ok {
			all = append(all, selector)
		}
		return nil
	})
	return all
}
