package instrument_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/redial-dev/redial/instrument/event"
)

const (
	sentRPCs  = "redial.transport.rpcs"
	busiest   = "redial.subchannel.rpcs subchannel.rank=busiest"
	leastBusy = "redial.subchannel.rpcs subchannel.rank=least_busy"
)

// spread makes RPCs over a channel whose transports are READY, and returns the metrics of the interval in which it did.
func (env *environment) spread(cc *grpc.ClientConn, rpcs int) map[string]int64 {
	env.t.Helper()
	env.collect() // An interval begins.
	for range rpcs {
		mustCall(env.t, cc)
	}
	var now map[string]int64
	wait(env.t, "an interval ended", func() bool {
		now = env.collect()
		return now[busiest] > 0
	})
	return now
}

// sentOverEach returns how many RPCs each transport carried, as its end reports it.
func (env *environment) sentOverEach() (sent []int64) {
	for _, e := range env.recorded() {
		if e, ok := e.(event.TransportEnded); ok {
			sent = append(sent, e.RPCs)
		}
	}
	return sent
}

// pick_first sends every RPC to one of several addresses, and that is to be seen: it is why a rollout that adds servers
// takes no load off the old one.
func TestPickFirstSendsAllToOneAddress(t *testing.T) {
	env := newEnvironment(t)
	one, two, three := env.serve("S1"), env.serve("S2"), env.serve("S3")
	_, option := addresses(one.address, two.address, three.address)
	cc := env.dial("static:///all", option)
	env.connect(cc)
	now := env.spread(cc, 30)
	if now[sentRPCs] != 30 || now[busiest] != 30 || now[leastBusy] != 30 || now["redial.resolve.addresses"] != 3 ||
		now["redial.subchannels grpc.subchannel.state=ready"] != 1 {
		t.Errorf("30 RPCs over 1 of 3 addresses are shown as %v", now)
	}
	channels := env.handler.Channels()
	if sub := channels[0].Endpoints[0].Subchannels[0]; sub.RPCs != 30 || sub.InFlight != 0 {
		t.Errorf("the snapshot has %+v, want 30 RPCs", sub)
	}
	env.closeAll()
	if sent := env.sentOverEach(); len(sent) != 1 || sent[0] != 30 {
		t.Errorf("the transports carried %v RPCs, want 30", sent)
	}
	if now := env.collect(); now[sentRPCs] != 30 {
		t.Errorf("%d RPCs when the channel is closed, want the 30 still", now[sentRPCs])
	}
	env.shutdown()
}

// round_robin sends as many RPCs to each address.
func TestRoundRobinSendsToAllAddresses(t *testing.T) {
	for name, policy := range map[string]string{
		"Own": roundRobin,
		// The policy's pickers are wrapped, and those of its children: each RPC counts once.
		"Wrapped": `{"loadBalancingConfig":[{"test_wrapped_round_robin":{}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			one, two := env.serve("S1"), env.serve("S2")
			_, option := addresses(one.address, two.address)
			cc := env.dial("static:///all", option, grpc.WithDefaultServiceConfig(policy))
			env.connect(cc)
			awaitKind[event.TransportReady](env, 2)
			before := int64(0)
			wait(t, "RPCs go to both", func() bool {
				mustCall(t, cc)
				before++
				return env.used() == 2
			})
			now := env.spread(cc, 40)
			if now[sentRPCs] != before+40 || now[busiest] != 20 || now[leastBusy] != 20 {
				t.Errorf("%d and 40 RPCs over 2 addresses are shown as %v", before, now)
			}
			env.closeAll()
			if sent := env.sentOverEach(); len(sent) != 2 || sent[0]+sent[1] != before+40 || min(sent[0], sent[1]) < 20 {
				t.Errorf("the transports carried %v RPCs, want %d, and 20 at least each", sent, before+40)
			}
			env.shutdown()
		})
	}
}

// used counts the subchannels whose transport carried RPCs.
func (env *environment) used() (n int) {
	for _, c := range env.handler.Channels() {
		for _, e := range c.Endpoints {
			for _, s := range e.Subchannels {
				if s.RPCs > 0 {
					n++
				}
			}
		}
	}
	return n
}

// RPCs that were sent after the last collection were missing in what is exported at the end: the handler is shut down
// before the meter provider is.
func TestRPCsAreCountedAtShutdown(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.serve("S1").address)
	env.connect(cc)
	env.collect()
	const rpcs = 7
	for range rpcs {
		mustCall(t, cc)
	}
	if err := env.handler.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := env.collect()
	if now[sentRPCs] != rpcs {
		t.Errorf("%d RPCs are counted at the end, want %d", now[sentRPCs], rpcs)
	}
	for name := range now {
		if strings.HasPrefix(name, "redial.channels") {
			t.Errorf("%s is shown after Shutdown", name)
		}
	}
	if err := cc.Close(); err != nil {
		t.Error(err)
	}
}
