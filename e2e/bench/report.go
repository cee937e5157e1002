package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
)

// print prints lines that benchstat reads. The processor time is that of this process, the client's, in seconds for a
// million operations.
func (r results) print(w workload) {
	for _, c := range candidates() {
		for _, s := range r[c.name] {
			fmt.Printf("Benchmark%s/%s-%d\t1\t%.0f ns/op\t%.0f p99-ns/op\t%.2f cpu-s/Mop\t%.0f B/op\t%.1f allocs/op\n",
				w.name, c.name, runtime.GOMAXPROCS(0), s.time, s.p99, s.cpu/1000, s.bytes, s.allocs)
		}
	}
}

// tabulate adds a table of what each candidate takes beside the base.
func (r results) tabulate(to *strings.Builder, w workload) {
	fmt.Fprintf(to, "**%s**: %s; GOMAXPROCS=%d\n\n", w.name, w.what, runtime.GOMAXPROCS(0))
	fmt.Fprintf(to, "| | time | CPU | p99 | B/op | allocs/op |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, c := range candidates() {
		fmt.Fprintf(to, "| %s | %s | %s | %s | %+.0f | %+.0f |\n",
			c.name, r.ratios(c.name, sample.getTime), r.ratios(c.name, sample.getCPU),
			r.ratios(c.name, sample.getP99), r.difference(c.name, sample.getBytes), r.difference(c.name, sample.getAllocs))
	}
	added, theirs := r.ratios(ours, sample.getCPU), r.ratios(otherwise, sample.getCPU)
	fmt.Fprintf(to, "\nCPU that is added: by redial %+.1f %% (%+.1f to %+.1f), by otelgrpc %+.1f %% (%+.1f to %+.1f).\n\n",
		percent(added.mid), percent(added.low), percent(added.high),
		percent(theirs.mid), percent(theirs.low), percent(theirs.high))
}

func percent(ratio float64) float64 { return 100 * (ratio - 1) }

func (s sample) getTime() float64   { return s.time }
func (s sample) getCPU() float64    { return s.cpu }
func (s sample) getP99() float64    { return s.p99 }
func (s sample) getBytes() float64  { return s.bytes }
func (s sample) getAllocs() float64 { return s.allocs }

// ratios returns how much more a candidate takes than the base, round by round.
func (r results) ratios(name string, of func(sample) float64) interval {
	var all []float64
	for i, s := range r[name] {
		all = append(all, of(s)/of(r[base][i]))
	}
	return confidence(all)
}

func (r results) difference(name string, of func(sample) float64) float64 {
	var all []float64
	for i, s := range r[name] {
		all = append(all, of(s)-of(r[base][i]))
	}
	return median(all)
}

// interval is a median, and where it is with 95 % confidence.
type interval struct{ low, mid, high float64 }

func (i interval) String() string { return fmt.Sprintf("%.3f (%.3f to %.3f)", i.mid, i.low, i.high) }

// confidence finds the interval by the bootstrap.
func confidence(of []float64) interval {
	const resamples = 2000
	medians := make([]float64, resamples)
	for i := range medians {
		again := make([]float64, len(of))
		for j := range again {
			again[j] = of[rand.IntN(len(of))]
		}
		medians[i] = median(again)
	}
	slices.Sort(medians)
	return interval{medians[resamples*25/1000], median(of), medians[resamples*975/1000]}
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
