package look

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// tag finds redial's dashboards, which link to each other by it.
const tag = "redial"

// Dashboard is an empty dashboard with redial's variables and links.
func Dashboard(uid, title, description, since string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder(title).Uid(uid).Description(description).Tags([]string{tag}).Readonly().
		Time(since, "now").Refresh("30s").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("redial").Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{tag}).IncludeVars(true).KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus").
			Current(option("default", "default"))).
		WithVariable(choice("job", "Job", "label_values(redial_channels, job)")).
		WithVariable(choice("instance", "Instance", `label_values(redial_channels{job=~"$job"}, instance)`)).
		WithVariable(choice("target", "Target", `label_values(redial_channels{job=~"$job", instance=~"$instance"}, grpc_target)`))
}

// choice is a variable of which one, several or all values are chosen.
func choice(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(Prometheus()).
		Query(dashboard.StringOrMap{String: cog.ToPtr(query)}).Definition(query).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".+").Current(option("All", "$__all"))
}

func option(text, value string) dashboard.VariableOption {
	return dashboard.VariableOption{
		Text:  dashboard.StringOrArrayOfString{String: &text},
		Value: dashboard.StringOrArrayOfString{String: &value},
	}
}

// Series is a query of lines over time.
func Series(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return query(ref, expr).Range().Format(prometheus.PromQueryFormatTimeSeries).LegendFormat(legend)
}

// Now is a query of what there is at the end of the dashboard's time.
func Now(ref, expr, legend string) *prometheus.DataqueryBuilder {
	return query(ref, expr).Instant().Format(prometheus.PromQueryFormatTimeSeries).LegendFormat(legend)
}

// Column is a query of a column of a table.
func Column(ref, expr string) *prometheus.DataqueryBuilder {
	return query(ref, expr).Instant().Format(prometheus.PromQueryFormatTable)
}

// Buckets is a query of the buckets of a heat map.
func Buckets(ref, expr string) *prometheus.DataqueryBuilder {
	return query(ref, expr).Range().Format(prometheus.PromQueryFormatHeatmap).LegendFormat("{{le}}")
}

func query(ref, expr string) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(ref).Expr(expr).Datasource(Prometheus()).
		EditorMode(prometheus.QueryEditorModeCode)
}

// Event is an annotation: a mark on all panels where an expression finds something.
func Event(name, expr, text, color string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(Prometheus()).Enable(true).IconColor(color).
		Expr(expr).TitleFormat(name).TextFormat(text).Step("1m")
}
