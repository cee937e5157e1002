//go:build !race

package instrument_test

import (
	"context"
	"math"
	"testing"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
)

// allocations returns what one RPC on a READY channel allocates, here and in the server: the least of several
// measurements, since whatever else happens in the process can only add to it.
func allocations(t *testing.T, channels ...*grpc.ClientConn) []float64 {
	t.Helper()
	const rounds, rpcs = 10, 200
	least := make([]float64, len(channels))
	for i := range least {
		least[i] = math.Inf(1)
	}
	for range rounds {
		for i, cc := range channels {
			client := healthpb.NewHealthClient(cc)
			least[i] = min(least[i], testing.AllocsPerRun(rpcs, func() {
				if _, err := client.Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
					t.Error(err)
				}
			}))
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
			s := newScene(t)
			srv := s.serve("S1")
			with := func(h stats.Handler) *grpc.ClientConn {
				cc := s.dialWith(srv.address, insecureOption, grpc.WithStatsHandler(h), option)
				mustCall(t, cc, grpc.WaitForReady(true))
				return cc
			}
			n := allocations(t, with(doNothing{}), with(s.handler))
			if n[0] != n[1] {
				t.Errorf("%v allocations with redial, %v with a handler that does nothing", n[1], n[0])
			}
			s.closeAll()
			s.shutdown()
		})
	}
}
