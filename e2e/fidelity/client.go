package fidelity

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// client is a channel with one RPC after the other, or several at once.
type client struct {
	env    *environment
	target string
	// secure: it speaks TLS.
	secure bool
	// naps: it pauses now and then for longer than its idle timeout.
	naps    bool
	callers int
	names   *names
	cc      *grpc.ClientConn
	// local is the address of the connection that answered last, or nil.
	local atomic.Pointer[string]
	ctx   context.Context
	stop  context.CancelFunc
	all   sync.WaitGroup
}

var policies = []string{
	`{}`, `{"loadBalancingConfig":[{"round_robin":{}}]}`, `{"loadBalancingConfig":[{"` + bundleName + `":{}}]}`,
}

var quickBackoff = backoff.Config{
	BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 50 * time.Millisecond,
}

var numbers atomic.Int64

func (env *environment) newClient() (*client, error) {
	c := &client{env: env, target: fmt.Sprintf("chaos:///%d", numbers.Add(1)), callers: 1, names: &names{}}
	opts := []grpc.DialOption{
		env.handler.DialOption(), grpc.WithResolvers(instrument.WrapResolver(c.names)),
		grpc.WithDefaultServiceConfig(policies[env.random.IntN(len(policies))]),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: quickBackoff, MinConnectTimeout: connectTime}),
	}
	if c.secure = env.oneOf(4); c.secure {
		opts = append(opts, grpc.WithTransportCredentials(credentials.NewTLS(env.clientTLS)))
	} else {
		opts = append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if env.oneOf(4) {
		c.callers = crowd
	}
	if c.naps = env.oneOf(6); c.naps {
		opts = append(opts, grpc.WithIdleTimeout(idleTime))
		c.names.delay = time.Duration(env.random.Int64N(int64(slowest)))
	}
	c.names.state = env.addresses(c)
	var err error
	if c.cc, err = grpc.NewClient(c.target, opts...); err != nil {
		return nil, err
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if c.naps {
		c.all.Go(func() { c.nap() })
		return c, nil
	}
	for range c.callers {
		c.all.Go(func() { c.call(c.ctx) })
	}
	return c, nil
}

// oneOf reports true once in so many times.
func (env *environment) oneOf(n int) bool { return env.random.IntN(n) == 0 }

// call makes RPCs, whatever becomes of them.
func (c *client) call(ctx context.Context) {
	tick := time.NewTicker(rpcInterval)
	defer tick.Stop()
	for {
		c.rpc(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// nap lets the channel be awake and idle in turn.
func (c *client) nap() {
	random := rand.New(rand.NewPCG(uint64(len(c.target)), 0))
	for c.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(c.ctx, wakeTime)
		var callers sync.WaitGroup
		for range c.callers {
			callers.Go(func() { c.call(ctx) })
		}
		callers.Wait()
		cancel()
		c.env.note(c.target, event.CauseIdleTimeout)
		select {
		case <-c.ctx.Done():
		case <-time.After(time.Duration(random.Int64N(int64(4 * idleTime)))):
		}
	}
}

// rpc makes one RPC, which waits for a transport: if it is Unavailable, it was killed. It goes on when the context is
// done, so that what ends it is the channel's close and not its caller.
func (c *client) rpc(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rpcTime)
	defer cancel()
	var way peer.Peer
	_, err := healthpb.NewHealthClient(c.cc).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true),
		grpc.Peer(&way))
	if status.Code(err) == codes.Unavailable || status.Code(err) == codes.Canceled {
		c.env.rpcs.died(c.target, status.Code(err) == codes.Unavailable, status.Convert(err).Message())
	}
	if err == nil && way.LocalAddr != nil {
		local := way.LocalAddr.String()
		c.local.Store(&local)
	}
}
