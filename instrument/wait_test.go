package instrument_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/snapshot"
)

// slowResolver answers when the test says so.
type slowResolver struct {
	conn atomic.Pointer[resolver.ClientConn]
}

func (*slowResolver) Scheme() string { return "slow" }

func (r *slowResolver) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	r.conn.Store(&cc)
	return r, nil
}

func (*slowResolver) ResolveNow(resolver.ResolveNowOptions) {}
func (*slowResolver) Close()                                {}

func (r *slowResolver) answer(t *testing.T, address string) {
	t.Helper()
	state := resolver.State{Addresses: []resolver.Address{{Addr: address}}}
	if err := (*r.conn.Load()).UpdateState(state); err != nil {
		t.Error(err)
	}
}

func (r *slowResolver) option() grpc.DialOption {
	return grpc.WithResolvers(instrument.WrapResolver(r))
}

// aggregating does as weighted_target, priority, cluster_manager and the policies of xDS: while its children connect it
// queues RPCs in a picker of its own, and fails them in one when they have failed.
type aggregating struct{}

func (aggregating) Name() string { return "redial_aggregating" }

func (aggregating) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return balancer.Get(roundrobin.Name).Build(aggregatingConn{cc}, opts)
}

type aggregatingConn struct{ balancer.ClientConn }

func (c aggregatingConn) UpdateState(s balancer.State) {
	switch s.ConnectivityState {
	case connectivity.Connecting:
		s.Picker = base.NewErrPicker(balancer.ErrNoSubConnAvailable)
	case connectivity.TransientFailure:
		s.Picker = base.NewErrPicker(errors.New("no healthy upstream"))
	}
	c.ClientConn.UpdateState(s)
}

func init() { balancer.Register(aggregating{}) }

const aggregatingConfig = `{"loadBalancingConfig":[{"redial_aggregating":{}}]}`

// Where gRPC holds an RPC.
const (
	resolverWait = "grpc.(*ClientConn).waitForResolvedAddrs("
	pickWait     = "grpc.(*pickerWrapper).pick("
)

// awaitBlocked waits until a goroutine is in a function of gRPC's.
func awaitBlocked(t *testing.T, function string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	wait(t, "an RPC is in "+function, func() bool {
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(function))
	})
}

// waitsFor returns the ended waits of RPCs for a reason.
func (env *environment) waitsFor(reason event.WaitReason) (ended []event.PickWaitEnded) {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := env.handler.Drain(ctx); err != nil {
		env.t.Fatal(err)
	}
	env.mu.Lock()
	defer env.mu.Unlock()
	for _, e := range env.events {
		if w, ok := e.(event.PickWaitEnded); ok && w.Reason == reason {
			ended = append(ended, w)
		}
	}
	return ended
}

// onlyWait returns the one wait for a reason.
func (env *environment) onlyWait(reason event.WaitReason, outcome event.Outcome, errorType string) event.PickWaitEnded {
	env.t.Helper()
	all := env.waitsFor(reason)
	if len(all) != 1 || all[0].Outcome != outcome || all[0].ErrorType != errorType {
		env.t.Fatalf("want one wait for %s that is %s (%q); there were:\n%s", reason, outcome, errorType, env.eventText())
	}
	return all[0]
}

// onlyRefused returns the one RPC that was refused.
func (env *environment) onlyRefused() event.RPCRefused {
	env.t.Helper()
	env.waitsFor("")
	env.mu.Lock()
	defer env.mu.Unlock()
	var all []event.RPCRefused
	for _, e := range env.events {
		if r, ok := e.(event.RPCRefused); ok {
			all = append(all, r)
		}
	}
	if len(all) != 1 {
		env.t.Fatalf("%d RPCs were refused, want one; there were:\n%s", len(all), fmt.Sprint(env.events))
	}
	return all[0]
}

// At a channel's start gRPC waits for the name before it reports the RPC.
func TestWaitForNameAtStart(t *testing.T) {
	env := newEnvironment(t)
	srv, r := env.serve("S1"), &slowResolver{}
	cc := env.dial("slow:///service", r.option())
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	awaitKind[event.ChannelState](env, 1) // It is known before there is any address.
	awaitBlocked(t, resolverWait)
	r.answer(t, srv.address)
	wantCode(t, wait(), codes.OK)
	w := env.onlyWait(event.WaitNameResolution, event.OutcomeContinued, "")
	env.mu.Lock()
	for _, e := range env.events {
		if resolved, ok := e.(event.Resolved); ok && !w.Start.Equal(resolved.Start) {
			t.Errorf("the wait began at %v, the resolver was asked at %v", w.Start, resolved.Start)
		}
	}
	env.mu.Unlock()
	env.closeAll()
	env.shutdown()
}

// A channel wakes from idleness, and its name is resolved again while the RPC waits.
func TestWaitForNameAtWake(t *testing.T) {
	env := newEnvironment(t)
	srv, r := env.serve("S1"), &slowResolver{}
	cc := env.dial("slow:///service", r.option(), grpc.WithIdleTimeout(100*time.Millisecond))
	cc.Connect()
	awaitKind[event.ChannelState](env, 1)
	r.answer(t, srv.address)
	env.awaitState(cc, connectivity.Ready)
	env.awaitUnobserved(cc, connectivity.Idle)
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	env.await(2, "CONNECTING", func(e event.Event) bool {
		c, ok := e.(event.ChannelState)
		return ok && c.To == event.StateConnecting
	})
	awaitBlocked(t, resolverWait)
	r.answer(t, srv.address)
	wantCode(t, wait(), codes.OK)
	env.onlyWait(event.WaitNameResolution, event.OutcomeContinued, "")
	env.closeAll()
	env.shutdown()
}

// A resolver that fails before it ever answered: the channel's state and the RPCs that die of it are known.
func TestResolverFailsFirst(t *testing.T) {
	env := newEnvironment(t)
	r := &slowResolver{}
	cc := env.dial("slow:///service", r.option())
	cc.Connect()
	awaitKind[event.ChannelState](env, 1)
	(*r.conn.Load()).ReportError(errors.New("the registry is down"))
	wait(t, "the channel's failure is known", func() bool {
		all := env.handler.Channels()
		return len(all) == 1 && all[0].ID != 0 && all[0].State == event.StateTransientFailure
	})
	wantCode(t, call(cc), codes.Unavailable)
	refused := env.onlyRefused()
	if refused.ErrorType != "name_resolution" || refused.Channel == 0 {
		t.Errorf("refused on channel %d by %q", refused.Channel, refused.ErrorType)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	wantCode(t, callWith(ctx, cc, grpc.WaitForReady(true)), codes.DeadlineExceeded)
	env.onlyWait(event.WaitNameResolution, event.OutcomeDeadlineExceeded, "name_resolution")
	env.closeAll()
	env.shutdown()
}

// A policy above the endpoints queues an RPC in a picker of its own until they are READY.
func TestWaitForPolicyThenPicked(t *testing.T) {
	env := newEnvironment(t)
	srv, g := env.serve("S1"), make(gate)
	cc := env.dial(srv.address, grpc.WithContextDialer(g.dial), grpc.WithDefaultServiceConfig(aggregatingConfig))
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	awaitKind[event.AttemptStarted](env, 1)
	awaitBlocked(t, pickWait)
	close(g)
	wantCode(t, wait(), codes.OK)
	w := env.onlyWait(event.WaitPolicy, event.OutcomePicked, "")
	if w.Episode == 0 {
		t.Error("the wait is not linked to the episode")
	}
	env.closeAll()
	env.shutdown()
}

// An RPC dies while a policy above the endpoints queues it, of its deadline, or of the endpoints' failure.
func TestWaitForPolicyInVain(t *testing.T) {
	env := newEnvironment(t)
	g := make(gate)
	cc := env.dial(env.freeAddress("DEAD"), grpc.WithContextDialer(g.dial),
		grpc.WithDefaultServiceConfig(aggregatingConfig), grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	wantCode(t, env.rpc(ctx, "RPC", cc), codes.DeadlineExceeded)
	env.onlyWait(event.WaitPolicy, event.OutcomeDeadlineExceeded, "timeout")
	if refused := env.onlyRefused(); refused.Reason != event.WaitPolicy {
		t.Errorf("the RPC was refused after it waited for %q", refused.Reason)
	}
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	awaitBlocked(t, pickWait)
	time.Sleep(5 * time.Millisecond) // A policy's wait that is shorter than a millisecond is not reported.
	close(g)
	wantCode(t, wait(), codes.Unavailable)
	if all := env.waitsFor(event.WaitPolicy); len(all) != 2 || all[1].Outcome != event.OutcomeFailed ||
		all[1].ErrorType != "connection_refused" {
		t.Errorf("want a second wait that ends with the endpoint's failure; there were:\n%s", env.eventText())
	}
	env.closeAll()
	env.shutdown()
}

const retryConfig = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":4,"initialBackoff":"0.01s",
	"maxBackoff":"0.01s","backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

// An RPC with a retryPolicy that is refused four times is one RPC, and none if it is answered in the end.
func TestRefusedWithRetryPolicy(t *testing.T) {
	env := newEnvironment(t)
	cc := env.dial(env.freeAddress("DEAD"), grpc.WithDefaultServiceConfig(retryConfig),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff}))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	wantCode(t, call(cc), codes.Unavailable)
	env.onlyRefused()
	env.closeAll()
	env.shutdown()
}

// The first attempt of an RPC is refused, a later one is answered: the RPC was not refused.
func TestRefusedThenRetried(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	srv.stop()
	cc := env.dial(srv.address, grpc.WithDefaultServiceConfig(`{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":5,
		"initialBackoff":"1s","maxBackoff":"1s","backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	done := make(chan error, 1)
	go func() { done <- call(cc) }()
	wait(t, "the first attempt is refused", func() bool { return env.handler.Held() })
	srv.start()
	wantCode(t, <-done, codes.OK)
	env.waitsFor("")
	for _, e := range env.recorded() {
		if _, ok := e.(event.RPCRefused); ok {
			t.Errorf("an RPC that was answered is reported as refused:\n%s", env.eventText())
		}
	}
	env.closeAll()
	env.shutdown()
}

// The snapshot shows since when a name is resolved, or what the resolver answered.
func TestSnapshotOfResolver(t *testing.T) {
	env := newEnvironment(t)
	r := &slowResolver{}
	cc := env.dial("slow:///name", r.option())
	cc.Connect()
	wait(t, "the resolver is asked", func() bool { return r.conn.Load() != nil })
	shown := func() snapshot.Resolver {
		t.Helper()
		if have := env.handler.Channels(); len(have) == 1 && have[0].Resolver != nil {
			return *have[0].Resolver
		}
		t.Fatal("the snapshot shows no resolver")
		return snapshot.Resolver{}
	}
	if s := shown(); s.Since == nil || s.Answered != nil {
		t.Errorf("before the answer: %+v", s)
	}
	(*r.conn.Load()).ReportError(errors.New("no such service"))
	if s := shown(); s.Since != nil || s.Answered == nil || s.ErrorType != "name_resolution" || s.Error != "no such service" {
		t.Errorf("after a failure: %+v", s)
	}
	r.answer(t, env.serve("S1").address)
	if s := shown(); s.Answered == nil || s.Addresses != 1 || s.Error != "" || s.ErrorType != "" {
		t.Errorf("after an answer: %+v", s)
	}
	env.closeAll()
	env.shutdown()
}

// An RPC that dies of its deadline while the name is resolved for the first time is reported to no stats.Handler. The
// interceptors count it.
func TestDeadlineBeforeNameIsResolved(t *testing.T) {
	for name, call := range map[string]func(context.Context, *grpc.ClientConn) error{
		"Unary": func(ctx context.Context, cc *grpc.ClientConn) error { return callWith(ctx, cc) },
		"Stream": func(ctx context.Context, cc *grpc.ClientConn) error {
			_, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			env := newEnvironment(t)
			srv, r := env.serve("S1"), &slowResolver{}
			cc := env.dial("slow:///service", r.option(), grpc.WithChainUnaryInterceptor(env.handler.UnaryInterceptor()),
				grpc.WithChainStreamInterceptor(env.handler.StreamInterceptor()))
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			wantCode(t, call(ctx, cc), codes.DeadlineExceeded)
			env.onlyWait(event.WaitNameResolution, event.OutcomeDeadlineExceeded, "timeout")
			if refused := env.onlyRefused(); refused.Reason != event.WaitNameResolution {
				t.Errorf("the RPC was refused after it waited for %q", refused.Reason)
			}
			r.answer(t, srv.address)
			mustCall(t, cc)
			late, cancelLate := context.WithCancel(context.Background())
			cancelLate()
			wantCode(t, call(late, cc), codes.Canceled) // The name is resolved: it waited for nothing.
			if all := env.waitsFor(event.WaitNameResolution); len(all) != 1 {
				t.Errorf("%d waits for the name, want one:\n%s", len(all), env.eventText())
			}
			env.closeAll()
			env.shutdown()
		})
	}
}

// Two channels share one option. gRPC does not say which of them an RPC belongs to before a picker sees it: the one
// that is not READY, where the RPC dies while it waits for a picker, and the one whose picker places it.
func TestWaitForPolicyWithSharedOption(t *testing.T) {
	env := newEnvironment(t)
	srv, g := env.serve("S1"), make(gate)
	option := env.handler.DialOption()
	ready := env.dialWith(srv.address, insecureOption, option)
	env.connect(ready)
	mustCall(t, ready)
	cc := env.dialWith(srv.address, insecureOption, option, grpc.WithContextDialer(g.dial),
		grpc.WithDefaultServiceConfig(aggregatingConfig))
	cc.Connect()
	awaitKind[event.AttemptStarted](env, 2)
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	wantCode(t, callWith(ctx, cc), codes.DeadlineExceeded)
	mustCall(t, ready)
	env.onlyWait(event.WaitPolicy, event.OutcomeDeadlineExceeded, "timeout")
	wait := env.rpcInBackground(context.Background(), "RPC", cc)
	awaitBlocked(t, pickWait)
	close(g)
	wantCode(t, wait(), codes.OK)
	all := env.waitsFor(event.WaitPolicy)
	if len(all) != 2 || all[1].Outcome != event.OutcomePicked || all[1].Channel != all[0].Channel {
		t.Errorf("want a second wait of the channel that ends well; there were:\n%s", env.eventText())
	}
	env.closeAll()
	env.shutdown()
}
