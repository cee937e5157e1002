//go:build !race

package instrument_test

import (
	"context"
	"math"
	"runtime"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
)

// cost is what one RPC allocates.
type cost struct{ allocations, bytes float64 }

// costs returns what one RPC on a READY channel allocates, here and in the server: the least of several measurements,
// since whatever else happens in the process can only add to it.
func costs(t *testing.T, channels ...*grpc.ClientConn) []cost {
	t.Helper()
	const rounds, rpcs = 10, 200
	least := make([]cost, len(channels))
	for i := range least {
		least[i] = cost{math.Inf(1), math.Inf(1)}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // As testing.AllocsPerRun has it.
	for range rounds {
		for i, cc := range channels {
			client := healthpb.NewHealthClient(cc)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range rpcs {
				if _, err := client.Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
					t.Error(err)
				}
			}
			runtime.ReadMemStats(&after)
			least[i].allocations = min(least[i].allocations, float64(after.Mallocs-before.Mallocs)/rpcs)
			least[i].bytes = min(least[i].bytes, float64(after.TotalAlloc-before.TotalAlloc)/rpcs)
		}
	}
	return least
}

// On a READY channel an RPC allocates exactly as much with redial as with a handler that does nothing, below pick_first
// and below a policy that picks among several.
func TestAllocationsOfRPC(t *testing.T) {
	for name, option := range map[string]grpc.DialOption{
		"PickFirst":  grpc.WithDefaultServiceConfig(`{}`),
		"RoundRobin": grpc.WithDefaultServiceConfig(roundRobin),
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			srv := env.serve("S1")
			with := func(h stats.Handler) *grpc.ClientConn {
				cc := env.dialWith(srv.address, insecureOption, grpc.WithStatsHandler(h), option)
				mustCall(t, cc, grpc.WaitForReady(true))
				return cc
			}
			n := costs(t, with(doNothing{}), with(env.handler.StatsHandler()))
			// One allocation more takes eight bytes at least. gRPC's own pools make for fractions of either.
			if math.Round(n[0].allocations) != math.Round(n[1].allocations) || math.Abs(n[0].bytes-n[1].bytes) >= 8 {
				t.Errorf("%+v with redial, %+v with a handler that does nothing", n[1], n[0])
			}
			env.closeAll()
			env.shutdown()
		})
	}
}
