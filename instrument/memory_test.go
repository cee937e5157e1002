//go:build !race

package instrument_test

import (
	"math"
	"net"
	"runtime"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument"
)

// memoryPerSubchannel is what docs/performance.md says that a READY subchannel takes at most, its channel's share
// included; the spans that are open, which belong to the SDK, are not.
const memoryPerSubchannel = 2 << 10

// liveHeap returns the size of what is reachable, once goroutines that are about to rest have let go of their buffers.
func liveHeap() float64 {
	runtime.GC() // It leaves what was in a sync.Pool.
	least := uint64(math.MaxUint64)
	for {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc >= least {
			return float64(least)
		}
		least = m.HeapAlloc
	}
}

// A subchannel that is READY and quiet takes no more memory than the docs say, and no goroutine; and when its channel
// is closed nothing holds on to it.
func TestMemoryOfSubchannels(t *testing.T) {
	const rounds = 5
	for name, open := range map[string]func(*manyChannels, stats.Handler) []*grpc.ClientConn{
		"Channels": (*manyChannels).channels, "RoundRobin": (*manyChannels).roundRobin,
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			count := &connections{}
			many := &manyChannels{t: t, address: env.serve("S1", grpc.StatsHandler(count)).address, n: 500}
			redial := instrument.NewHandler(instrument.WithTracerProvider(nooptrace.NewTracerProvider()),
				instrument.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
			closed := 0
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%d of %d closed channels are freed, and redial has %d", many.freed.Load(), closed, len(redial.Channels()))
				}
			})
			// measure returns the memory and the goroutines that each subchannel takes.
			measure := func(h stats.Handler) (memory float64, goroutines int) {
				heap, running := liveHeap(), runtime.NumGoroutine()
				all := open(many, h)
				for _, cc := range all {
					cc.Connect()
				}
				ways := map[net.Addr]bool{}
				wait(t, "each subchannel has carried an RPC", func() bool {
					for _, cc := range all {
						var way peer.Peer
						mustCall(t, cc, grpc.WaitForReady(true), grpc.Peer(&way))
						ways[way.LocalAddr] = true
					}
					return len(ways) == many.n
				})
				clear(ways)
				if err := redial.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
				memory, goroutines = (liveHeap()-heap)/float64(many.n), runtime.NumGoroutine()-running
				for _, cc := range all {
					if err := cc.Close(); err != nil {
						t.Fatal(err)
					}
				}
				closed += len(all)
				clear(all)
				wait(t, "nothing holds on to a closed channel", func() bool {
					runtime.GC()
					return many.freed.Load() == int64(closed)
				})
				wait(t, "the connections are gone", func() bool {
					return count.open.Load() == 0 && runtime.NumGoroutine() <= running
				})
				return memory, goroutines
			}
			measure(doNothing{}) // To warm up.
			measure(redial.StatsHandler())
			without, with := math.Inf(1), math.Inf(1) // Whatever else happens in the process can only add to them.
			for range rounds {
				memory, goroutines := measure(doNothing{})
				without = min(without, memory)
				memory, goroutinesWith := measure(redial.StatsHandler())
				with = min(with, memory)
				if goroutinesWith != goroutines {
					t.Errorf("%d goroutines with redial, %d with a handler that does nothing", goroutinesWith, goroutines)
				}
			}
			t.Logf("a READY subchannel takes %.0f bytes more than with a handler that does nothing", with-without)
			if with-without > memoryPerSubchannel {
				t.Errorf("a READY subchannel takes %.0f bytes more than with a handler that does nothing, want at most %d",
					with-without, memoryPerSubchannel)
			}
			if err := redial.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
