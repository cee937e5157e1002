package look

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Link leads to a dashboard, of one value of a variable, with the other variables and the time as they are.
type Link struct{ UID, Variable string }

func (l Link) url(value string) string {
	link := "/d/" + l.UID + "?${__url_time_range}&${datasource:queryparam}&var-" + l.Variable + "=" + value
	for _, kept := range []string{"job", "instance", "target"} {
		if kept != l.Variable {
			link += "&${" + kept + ":queryparam}"
		}
	}
	return link
}

// OfSeries is the link of the series of a panel, each of which has a value of the label.
func (l Link) OfSeries(label string) []cog.Builder[dashboard.DashboardLink] {
	value := "${__field.labels." + label + "}"
	return []cog.Builder[dashboard.DashboardLink]{
		dashboard.NewDashboardLinkBuilder("Show " + value + " alone").Type(dashboard.DashboardLinkTypeLink).Url(l.url(value)),
	}
}
