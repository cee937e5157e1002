package rule

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"go.yaml.in/yaml/v3"

	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// runbooks is where the runbook of each alert is, in a file of its name.
const runbooks = "https://github.com/redial-dev/redial/blob/main/docs/runbooks/"

// Alerts returns the group of alerts.
func Alerts(s *promql.Signals) (rulefmt.RuleGroup, error) {
	group := rulefmt.RuleGroup{Name: "redial-alerts", Interval: minutes(1)}
	for _, a := range alerts {
		expr, err := s.Format(a.expr)
		if err != nil {
			return group, fmt.Errorf("alert %s: %w", a.name, err)
		}
		group.Rules = append(group.Rules, rulefmt.Rule{
			Alert: a.name, Expr: expr, For: minutes(a.minutes), Labels: map[string]string{"severity": a.severity},
			Annotations: map[string]string{
				"summary": a.summary, "description": a.description, "runbook_url": runbooks + a.name + ".md", "dashboard_url": a.link(),
			},
		})
	}
	return group, nil
}

// link is the URL of the dashboard of what the alert is about. Prometheus' external label grafana_url says where
// Grafana is.
func (a alert) link() string {
	link := "{{ $externalLabels.grafana_url }}/d/" + a.dashboard
	separator := "?"
	for _, v := range []struct{ name, label string }{{"job", "job"}, {"instance", "instance"}, {"target", "grpc_target"}} {
		if strings.Contains(a.expr, "by (") && grouped(a.expr, v.label) {
			link += separator + "var-" + v.name + "={{ $labels." + v.label + " | urlquery }}"
			separator = "&"
		}
	}
	return link
}

// grouped reports whether an expression keeps a label.
func grouped(expr, label string) bool {
	first := expr[strings.Index(expr, "by (")+len("by ("):]
	for _, l := range strings.Split(first[:strings.Index(first, ")")], ", ") {
		if l == label {
			return true
		}
	}
	return false
}

// File returns groups as Prometheus reads them.
func File(groups ...rulefmt.RuleGroup) ([]byte, error) {
	return encode(rulefmt.RuleGroups{Groups: groups})
}

// Kubernetes returns groups as the Prometheus operator reads them.
func Kubernetes(groups ...rulefmt.RuleGroup) ([]byte, error) {
	type metadata struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	}
	return encode(struct {
		APIVersion string             `yaml:"apiVersion"`
		Kind       string             `yaml:"kind"`
		Metadata   metadata           `yaml:"metadata"`
		Spec       rulefmt.RuleGroups `yaml:"spec"`
	}{
		"monitoring.coreos.com/v1", "PrometheusRule",
		metadata{"redial", map[string]string{"app.kubernetes.io/name": "redial"}}, rulefmt.RuleGroups{Groups: groups},
	})
}

func encode(v any) ([]byte, error) {
	text := bytes.NewBufferString("# Written by go -C dashboards/generator run . Do not edit.\n")
	e := yaml.NewEncoder(text)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode rules: %w", err)
	}
	return text.Bytes(), e.Close()
}

func minutes(n int) model.Duration { return model.Duration(time.Duration(n) * time.Minute) }

func sumBy(labels []string, expr string) string { return aggregate("sum", labels, expr) }

func maxBy(labels []string, expr string) string { return aggregate("max", labels, expr) }

func aggregate(how string, labels []string, expr string) string {
	return fmt.Sprintf("%s by (%s) (%s)", how, strings.Join(labels, ", "), expr)
}
