// Package board has the four dashboards: a file each that reads like a table of contents, and files of the panels
// of a row.
package board

import (
	"errors"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"github.com/redial-dev/redial/dashboards/generator/look"
	"github.com/redial-dev/redial/dashboards/generator/promql"
)

// The uids of the dashboards, by which links find them.
const (
	overviewUID = "redial-overview"
	targetUID   = "redial-target"
	fleetUID    = "redial-fleet"
	agentUID    = "redial-agent"
)

// maker makes the queries of a dashboard's panels, and collects what is wrong with them.
type maker struct {
	signals *promql.Signals
	errs    []error
}

// chosen returns the expression of what the dashboard's variables choose.
func (m *maker) chosen(expr string) string {
	of, err := m.signals.Chosen(expr)
	m.errs = append(m.errs, err)
	return of
}

func (m *maker) series(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return look.Series(ref, m.chosen(expr), legend)
}

func (m *maker) now(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return look.Now(ref, m.chosen(expr), legend)
}

func (m *maker) column(ref, expr string) *prometheus.DataqueryBuilder {
	return look.Column(ref, m.chosen(expr))
}

func (m *maker) buckets(ref, expr string) *prometheus.DataqueryBuilder {
	return look.Buckets(ref, m.chosen(expr))
}

// dashboard is an empty dashboard with redial's variables, links and annotations.
func (m *maker) dashboard(uid, title, description, since string) *dashboard.DashboardBuilder {
	return look.Dashboard(uid, title, description, since).
		Annotation(look.Event("Without a connection", m.chosen("max by (grpc_target) ("+openFor+") > 30"),
			"{{grpc_target}} has an endpoint without a connection for more than 30 s", look.Bad))
}

// finish builds the dashboard, and numbers its panels.
func (m *maker) finish(b *dashboard.DashboardBuilder) (dashboard.Dashboard, error) {
	d, err := b.Build()
	if err := errors.Join(append(m.errs, err)...); err != nil {
		return dashboard.Dashboard{}, fmt.Errorf("make a dashboard: %w", err)
	}
	for i, p := range d.Panels {
		id := uint32(i + 1)
		if p.Panel != nil {
			p.Panel.Id = &id
		} else {
			p.RowPanel.Id = id
		}
	}
	return d, nil
}
