// Bench measures what redial costs an RPC, beside its peers and in one run: each round runs every candidate, in random
// order, for a moment, and what counts are the ratios within a round.
//
//	go -C e2e run ./bench
//
// It prints lines that benchstat reads, and then tables for people: medians over the rounds with intervals of 95 %
// confidence (of the median, by the bootstrap). The server is a process of its own.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redial-dev/redial/e2e/internal/child"
)

var (
	rounds = flag.Int("rounds", 25, "how often each candidate is measured")
	moment = flag.Duration("moment", 200*time.Millisecond, "how long each measurement takes")
	cpus   = flag.String("cpu", "1,2", "numbers of processors (GOMAXPROCS) to measure with, separated by commas")
	only   = flag.String("run", "", "a regular expression for the names of what is measured")
	solo   = flag.String("candidate", "", "measure this candidate alone, such as redial, for a profile")
	prof   = flag.String("cpuprofile", "", "a file to write a profile of this process's CPU time to")
)

func main() {
	flag.Parse()
	run := bench
	if child.Is() {
		run = func() error { return child.Serve(func(l net.Listener) net.Listener { return l }) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench() error {
	chosen, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var processors []int
	for field := range strings.SplitSeq(*cpus, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("-cpu %q: want numbers from 1, separated by commas", *cpus)
		}
		processors = append(processors, n)
	}
	if *solo != "" && !slices.ContainsFunc(candidates(), func(c candidate) bool { return c.name == *solo }) {
		return fmt.Errorf("-candidate %q: there is no such candidate", *solo)
	}
	if *rounds < 1 || *moment <= 0 {
		return fmt.Errorf("-rounds %d -moment %v: want more than zero of both", *rounds, *moment)
	}
	if *prof != "" {
		profile, err := os.Create(*prof)
		if err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
		defer profile.Close()
		if err := pprof.StartCPUProfile(profile); err != nil {
			return fmt.Errorf("-cpuprofile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	address, stop, err := child.Start()
	if err != nil {
		return err
	}
	fmt.Printf("goos: %s\ngoarch: %s\npkg: github.com/redial-dev/redial/e2e/bench\ncpu: %s\n",
		runtime.GOOS, runtime.GOARCH, processor())
	var tables strings.Builder
	for _, w := range workloads {
		if !chosen.MatchString(w.name) {
			continue
		}
		for _, n := range processors {
			runtime.GOMAXPROCS(n)
			results, err := w.measure(address)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			results.print(w)
			if *solo == "" {
				results.tabulate(&tables, w)
			}
		}
	}
	fmt.Printf("\n%s, %s/%s, %d of %d × %s; medians of %d rounds (95 %% confidence)\n\n%s", runtime.Version(), runtime.GOOS,
		runtime.GOARCH, processors[len(processors)-1], runtime.NumCPU(), processor(), *rounds, &tables)
	return stop()
}

// processor returns the model of the machine's processors, where Linux names it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	model := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(text)
	if model == nil {
		return "unknown"
	}
	return strings.TrimSpace(string(model[1]))
}
