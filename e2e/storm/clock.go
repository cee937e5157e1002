package main

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// clock measures how long each kind of hook holds gRPC.
type clock map[string]*durations

// control is no hook but a hash of two kilobytes that takes memory as a hook does, and waits for nothing: what it takes
// beyond its median is the doing of the machine, and of Go's memory and scheduler.
const control = "(control)"

func (c clock) control() {
	c.time(control, func() {
		work := new([1 << 10]byte)
		hash := fnv.New64a()
		hash.Write(work[:])
		hash.Write(work[:])
		escaped.Store(work)
	})
}

// escaped keeps the control's memory from being the stack's.
var escaped atomic.Pointer[[1 << 10]byte]

// hooks are all that are timed.
var hooks = []string{control, "new subchannel", "handshake", "connection begins", "connection ends", "loss", "state",
	"real: connection tagged", "real: connection begins", "real: connection ends", "real: loss"}

// newClock returns a clock for these kinds. Its durations are safe for concurrent use.
func newClock(kinds ...string) clock {
	c := clock{}
	for _, kind := range kinds {
		c[kind] = &durations{}
	}
	return c
}

func (c clock) time(kind string, call func()) {
	start := time.Now()
	call()
	c[kind].add(time.Since(start))
}

// String is a table.
func (c clock) String() string {
	var text strings.Builder
	text.WriteString("| hook | calls | median | p99 | p99.9 |\n| --- | --- | --- | --- | --- |\n")
	kinds := make([]string, 0, len(c))
	for kind := range c {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		d := c[kind]
		if d.count() == 0 {
			continue
		}
		fmt.Fprintf(&text, "| %s | %d | %v | %v | %v |\n",
			kind, d.count(), d.quantile(0.5), d.quantile(0.99), d.quantile(0.999))
	}
	return text.String()
}

// durations is a histogram whose buckets are 5 % apart, from 100 ns on.
type durations [512]atomic.Int64

const (
	shortest = 100 * time.Nanosecond
	step     = 1.05
)

func (d *durations) add(took time.Duration) {
	bucket := 0
	if took > shortest {
		bucket = int(math.Log(float64(took)/float64(shortest)) / math.Log(step))
	}
	d[min(bucket, len(d)-1)].Add(1)
}

func (d *durations) count() (n int64) {
	for i := range d {
		n += d[i].Load()
	}
	return n
}

// quantile returns an upper bound of a quantile, 5 % too high at most.
func (d *durations) quantile(q float64) time.Duration {
	rest := int64(math.Ceil(q * float64(d.count())))
	for i := range d {
		if rest -= d[i].Load(); rest <= 0 {
			return time.Duration(float64(shortest) * math.Pow(step, float64(i+1))).Round(10 * time.Nanosecond)
		}
	}
	return 0
}
