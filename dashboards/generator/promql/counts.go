// Package promql makes the expressions of dashboards and rules: what is common to them, and the check that each
// names only what redial has. Metrics arrive in several ways, and expressions must not depend on which: scraped or
// sent by OTLP every few seconds or once a minute, with and without scope labels, histograms classic or native.
package promql

import (
	"fmt"
	"slices"
	"strings"
)

// Growth returns by how much each counter grew within a window.
//
// A counter of redial appears when it first counts, so that increase() would not see the first loss of a
// connection, and it would extrapolate three losses to 3.4. The difference of two values is exact, whatever the
// scrape interval. Where it is negative the process began anew, and where there is no value before, the counter is
// new: then its value is the growth, unless redial itself is new here, and the counter may be old.
func Growth(counter, window string) string {
	return growth(counter, counter+" offset "+window, window)
}

func growth(now, before, window string) string {
	return fmt.Sprintf("(%s - %s >= 0 or %s)", now, before, known(now, window))
}

// known returns the series of those instances from which redial's metrics came a window before, of whatever target.
func known(series, window string) string {
	return fmt.Sprintf(`%s and on (job, instance) redial_channels{grpc_channel_state="ready",grpc_target!=""} offset %s`,
		series, window)
}

// Observations returns how many observations each histogram got within a window.
func Observations(histogram, window string) string {
	native := func(suffix string) string { return "histogram_count(" + histogram + suffix + ")" }
	return fmt.Sprintf("(%s or %s)", Growth(Part(histogram, "_count"), window),
		growth(native(""), native(" offset "+window), window))
}

// Spent returns the sum of what each histogram observed within a window.
func Spent(histogram, window string) string {
	native := func(suffix string) string { return "histogram_sum(" + histogram + suffix + ")" }
	return fmt.Sprintf("(%s or %s)", Growth(Part(histogram, "_sum"), window),
		growth(native(""), native(" offset "+window), window))
}

// Mean returns the mean of what the histograms observed within a window, grouped by labels. Where nothing was observed
// it returns nothing; nor where the number of observations is the same as before a process began anew, and their sum is
// not.
func Mean(histogram, window string, by ...string) string {
	grouped := "sum by (" + strings.Join(by, ", ") + ") "
	return grouped + Spent(histogram, window) + " / (" + grouped + Observations(histogram, window) + " > 0)"
}

// Quantile returns a quantile of what the histograms observed within a window, grouped by labels. Where nothing was
// observed it returns nothing.
func Quantile(q float64, histogram, window string, by ...string) string {
	classic := fmt.Sprintf("histogram_quantile(%v, sum by (%s) "+
		"(%s))", q, strings.Join(append(slices.Clone(by), "le"), ", "),
		Growth(Part(histogram, "_bucket"), window))
	native := fmt.Sprintf("histogram_quantile(%v, sum by (%s) (%s))", q, strings.Join(by, ", "+
		""), NativeGrowth(histogram, window))
	return fmt.Sprintf("(%s or %s) >= 0", classic, native)
}

// NativeGrowth returns by how much each native histogram grew within a window, as Growth does.
func NativeGrowth(histogram, window string) string {
	return fmt.Sprintf("(%[1]s - %[1]s offset %[2]s and histogram_count(%[1]s) - histogram_count(%[1]s offset "+
		"%[2]s) >= 0 or %[3]s)",
		histogram, window, known(histogram, window))
}

// Part returns a selector of a part of a classic histogram.
func Part(histogram, suffix string) string {
	name, matchers, found := strings.Cut(histogram, "{")
	if !found {
		return name + suffix
	}
	return name + suffix + "{" + matchers
}

// Within returns the sum of what an expression of a window's growth finds over the range of the dashboard.
func Within(expr, window string) string {
	return fmt.Sprintf("sum_over_time((%s)[$__range:%s])", expr, window)
}

// OrZero returns the expression, or 0 where it finds nothing.
func OrZero(expr string) string { return expr + " or vector(0)" }

// OrNone returns the expression, or 0 where it finds nothing, with a value of the label that says so.
func OrNone(expr, label string) string {
	return fmt.Sprintf(`%s or on () label_replace(vector(0), "%s", "none", "", "")`, expr, label)
}
