package look

import (
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// Col is a column of numbers of a table, in the colour, if any, where they are not 0. Rows are sorted by those that
// sort, the first column first.
type Col struct {
	Ref, Title, Unit, Color string
	Sorts                   bool
}

// Compared joins the queries of a table by a label, worst first, and shows a query of time series as a sparkline.
func Compared(
	p *table.PanelBuilder, label, title string, to Link, columns []Col, trend, trendTitle string,
) *table.PanelBuilder {
	names, order, titles := []string{label}, map[string]int{label: 0}, map[string]string{label: title}
	for i, c := range columns {
		value := "Value #" + c.Ref
		names, order[value], titles[value] = append(names, value), i+1, c.Title
		overrides := []dashboard.DynamicConfigValue{
			{Id: "unit", Value: orLocale(c.Unit)},
			{Id: "custom.minWidth", Value: 110},
		}
		if c.Color != "" {
			overrides = append(overrides, []dashboard.DynamicConfigValue{
				{Id: "custom.cellOptions", Value: map[string]string{"type": "color-text"}},
				{Id: "thresholds", Value: steps(Step{From: 1e-9, Color: c.Color})},
				{Id: "color", Value: map[string]string{"mode": "thresholds"}},
			}...)
		}
		p.OverrideByName(c.Title, overrides)
	}
	for _, name := range []string{"Trend", "Trend #" + trend} { // Grafana names it by the query only beside others.
		names, order[name], titles[name] = append(names, name), len(columns)+1, trendTitle
	}
	p.OverrideByName(title, []dashboard.DynamicConfigValue{
		{Id: "links", Value: []map[string]any{{"title": "Show ${__value.raw} alone", "url": to.url("${__value.raw}")}}},
		{Id: "custom.minWidth", Value: 260},
	})
	p.OverrideByName(trendTitle, []dashboard.DynamicConfigValue{
		{Id: "custom.cellOptions", Value: map[string]any{
			"type": "sparkline", "hideValue": true, "drawStyle": "bars", "fillOpacity": 80,
		}},
		{Id: "color", Value: map[string]string{"mode": "fixed", "fixedColor": Neutral}},
	})
	p = p.
		WithTransformation(dashboard.DataTransformerConfig{
			Id: "timeSeriesTable", Filter: &dashboard.MatcherConfig{Id: "byRefId", Options: trend}, Options: map[string]any{},
		}).
		WithTransformation(transform("joinByField", map[string]any{"byField": label, "mode": "outer"})).
		WithTransformation(transform("filterFieldsByName", map[string]any{"include": map[string]any{"names": names}}))
	for _, c := range slices.Backward(columns) {
		if c.Sorts {
			p = p.WithTransformation(sortedBy("Value #" + c.Ref))
		}
	}
	return p.
		WithTransformation(transform("limit", map[string]any{"limitField": 20})).
		WithTransformation(transform("organize", map[string]any{
			"indexByName": order, "renameByName": titles, "excludeByName": map[string]bool{},
		}))
}

func transform(id string, options map[string]any) dashboard.DataTransformerConfig {
	return dashboard.DataTransformerConfig{Id: id, Options: options}
}

func sortedBy(field string) dashboard.DataTransformerConfig {
	return transform("sortBy", map[string]any{"sort": []map[string]any{{"field": field, "desc": true}}})
}

func steps(from Step) map[string]any {
	return map[string]any{"mode": "absolute", "steps": []map[string]any{
		{"value": nil, "color": "text"}, {"value": from.From, "color": from.Color},
	}}
}

func orLocale(unit string) string {
	if unit == "" {
		return "locale"
	}
	return unit
}
