// Package look has what all panels and dashboards have in common: colours, defaults of each kind of panel,
// variables, links.
package look

import (
	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Prometheus is the data source that a dashboard's variable names.
func Prometheus() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// barWidth is the least time that a bar of counts covers: shorter ones are hard to see in an hour.
const barWidth = "1m"

// pointWidth is the least time between two points, and points how many a number or a table asks for.
const (
	pointWidth = "15s"
	points     = 200
)

// Durations is a panel of durations, in lines.
func Durations(title, description string) *timeseries.PanelBuilder {
	return Lines(title, description, "s").Interval(barWidth).AxisSoftMax(1).ShowPoints(common.VisibilityModeAuto)
}

// Lines is a panel of lines.
func Lines(title, description, unit string) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(description).Datasource(Prometheus()).Unit(unit).
		Min(0).LineWidth(2).FillOpacity(8).ShowPoints(common.VisibilityModeNever).Interval(pointWidth).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
}

// Counts is a panel of stacked bars, each of which says how often something happened in its time.
func Counts(title, description string) *timeseries.PanelBuilder {
	return Stacked(title, description, "locale").Decimals(0).Interval(barWidth).DrawStyle(common.GraphDrawStyleBars).
		FillOpacity(85).AxisSoftMax(4)
}

// Stacked is a panel of stacked areas, whose sum is what there is altogether.
func Stacked(title, description, unit string) *timeseries.PanelBuilder {
	return Lines(title, description, unit).FillOpacity(75).LineWidth(0).
		Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A"))
}

// Number is a panel of one number that should be 0, with what is behind it as a faint line.
func Number(title, description, unit string) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(description).Datasource(Prometheus()).Unit(unit).
		Interval(pointWidth).MaxDataPoints(points).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorMode(common.BigValueColorModeBackgroundSolid).GraphMode(common.BigValueGraphModeNone).
		TextMode(common.BigValueTextModeValue).JustifyMode(common.BigValueJustifyModeCenter).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
}

// Timeline is a panel of states, one row a thing.
func Timeline(title, description string) *statetimeline.PanelBuilder {
	return statetimeline.NewPanelBuilder().Title(title).Description(description).Datasource(Prometheus()).Unit("locale").
		ShowValue(common.VisibilityModeNever).MergeValues(true).RowHeight(0.8).FillOpacity(85).LineWidth(0).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).
			DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdThresholds))
}

// Heat is a heat map of a histogram: the darker a cell, the more observations it holds.
func Heat(title, description, unit string) *heatmap.PanelBuilder {
	return heatmap.NewPanelBuilder().Title(title).Description(description).Datasource(Prometheus()).Interval(barWidth).
		Calculate(false).
		Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Viridis").
			Scale(heatmap.HeatmapColorScaleExponential).Exponent(0.5).Steps(32)).
		YAxis(heatmap.NewYAxisConfigBuilder().Unit(unit).AxisPlacement(common.AxisPlacementLeft)).
		FilterValues(heatmap.NewFilterValueRangeBuilder().Le(1e-9)).CellGap(1).ShowLegend()
}

// Table is a panel of rows to compare.
func Table(title, description string) *table.PanelBuilder {
	return table.NewPanelBuilder().Title(title).Description(description).Datasource(Prometheus()).Unit("locale").
		Interval(barWidth).MaxDataPoints(points).
		ShowHeader(true).NoValue("0").CellHeight(common.TableCellHeightSm).Decimals(0).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{}))
}

// Rank is a panel of bars to compare at one glance.
func Rank(title, description, unit string) *bargauge.PanelBuilder {
	return bargauge.NewPanelBuilder().Title(title).Description(description).Datasource(Prometheus()).Unit(unit).Min(0).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		Orientation(common.VizOrientationHorizontal).DisplayMode(common.BarGaugeDisplayModeBasic).
		Text(common.NewVizTextDisplayOptionsBuilder().TitleSize(14).ValueSize(14)).
		ColorScheme(dashboard.NewFieldColorBuilder().Mode(dashboard.FieldColorModeIdFixed).FixedColor(Neutral))
}

// Above colours a number: good below the first step, and from each on its own colour.
func Above(steps ...Step) cog.Builder[dashboard.ThresholdsConfig] {
	return Between(Good, steps...)
}

// Between colours a number: one colour below the first step, and from each on its own.
func Between(below string, steps ...Step) cog.Builder[dashboard.ThresholdsConfig] {
	all := []dashboard.Threshold{{Color: below}}
	for _, s := range steps {
		all = append(all, dashboard.Threshold{Value: cog.ToPtr(s.From), Color: s.Color})
	}
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(all)
}

// Step is a value from which on a number has a colour.
type Step struct {
	From  float64
	Color string
}

func fixed(color string) []dashboard.DynamicConfigValue {
	return []dashboard.DynamicConfigValue{{Id: "color", Value: map[string]string{"mode": "fixed", "fixedColor": color}}}
}

// Dashed draws a series dashed, by the name that its legend shows.
func Dashed(p *timeseries.PanelBuilder, name string) *timeseries.PanelBuilder {
	return p.OverrideByName(name, []dashboard.DynamicConfigValue{
		{Id: "custom.lineStyle", Value: map[string]any{"fill": "dash", "dash": []int{10, 10}}},
		{Id: "custom.fillOpacity", Value: 0},
	})
}
