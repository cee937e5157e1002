package instrument_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// addresses makes an option for a target "static:///..." with one endpoint for each address.
func addresses(all ...string) (*manual.Resolver, grpc.DialOption) {
	r := manual.NewBuilderWithScheme("static")
	r.InitialState(endpoints(all...))
	return r, grpc.WithResolvers(instrument.WrapResolver(r))
}

func endpoints(all ...string) (s resolver.State) {
	for _, a := range all {
		s.Addresses = append(s.Addresses, resolver.Address{Addr: a})
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	return s
}

func isAttempt(o event.Outcome) func(event.Event) bool {
	return func(e event.Event) bool {
		a, ok := e.(event.AttemptEnded)
		return ok && a.Outcome == o
	}
}

const roundRobin = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// A channel without a service config connects by the pick_first that package grpc kept when it was initialised.
func TestDefaultPickFirst(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	mustCall(t, cc)
	env.golden()
}

// Each of three servers is an endpoint with episodes of its own; the second one's is lost and found again.
func TestRoundRobin(t *testing.T) {
	env := newEnvironment(t)
	one, two, three := env.serve("S1"), env.serve("S2"), env.serve("S3")
	_, option := addresses(one.address, two.address, three.address)
	cc := env.dial("static:///all", option, grpc.WithDefaultServiceConfig(roundRobin))
	env.connect(cc)
	awaitKind[event.TransportReady](env, 3)
	two.stop()
	env.await(1, "a failed attempt", isAttempt(event.OutcomeFailed))
	two.start()
	awaitKind[event.TransportReady](env, 4)
	env.golden()
}

// The second of two addresses answers, the first refuses: one episode, two attempts.
func TestPickFirstOneDead(t *testing.T) {
	env := newEnvironment(t)
	dead, srv := env.freeAddress("DEAD"), env.serve("S1")
	_, option := addresses(dead, srv.address)
	env.connect(env.dial("static:///all", option))
	env.golden()
}

// The first address does not answer at all: after 250 ms the second is tried beside it, and wins.
func TestHappyEyeballs(t *testing.T) {
	env := newEnvironment(t)
	silent := env.name("192.0.2.1:1", "SILENT")
	srv := env.serve("S1")
	_, option := addresses(silent, srv.address)
	env.connect(env.dial("static:///all", option, grpc.WithContextDialer(func(
		ctx context.Context, address string,
	) (net.Conn, error) {
		if address == silent {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	})))
	env.golden()
}

// Both addresses refuse, until the second one's server is started: one episode, with the attempts at both.
func TestPickFirstAllDeadThenAlive(t *testing.T) {
	env := newEnvironment(t)
	dead, srv := env.freeAddress("DEAD"), env.serve("S1")
	srv.stop()
	_, option := addresses(dead, srv.address)
	cc := env.dial("static:///all", option)
	cc.Connect()
	env.await(1, "a failed attempt at S1", func(e event.Event) bool {
		a, ok := e.(event.AttemptEnded)
		return ok && a.Outcome == event.OutcomeFailed && a.Address == srv.address
	})
	srv.start()
	env.awaitState(cc, connectivity.Ready)
	env.closeAll()
	defer env.shutdown()
	var ended []event.ConnectEnded
	attempts := map[string][]event.Outcome{}
	for _, e := range env.recorded() {
		switch e := e.(type) {
		case event.ConnectEnded:
			ended = append(ended, e)
		case event.AttemptEnded:
			attempts[e.Address] = append(attempts[e.Address], e.Outcome)
		}
	}
	attempted := len(attempts[dead]) + len(attempts[srv.address])
	if len(ended) != 1 || ended[0].Outcome != event.OutcomeReady || ended[0].Attempts != attempted {
		t.Errorf("episodes: %v, want one that is ready after all attempts of %v", ended, attempts)
	}
	at := attempts[srv.address]
	if len(at) < 2 || at[0] != event.OutcomeFailed || at[len(at)-1] != event.OutcomeReady {
		t.Errorf("attempts at the server: %v, want failed ones and then ready", at)
	}
	if len(attempts[dead]) == 0 || attempts[dead][0] != event.OutcomeFailed {
		t.Errorf("attempts at the dead address: %v, want failed ones", attempts[dead])
	}
}

// The server is stopped, and started again after two attempts failed.
func TestServerStopAndRestart(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address)
	env.connect(cc)
	srv.stop()
	env.awaitState(cc, connectivity.Idle)
	cc.Connect()
	env.await(2, "a failed attempt", isAttempt(event.OutcomeFailed))
	srv.start()
	env.awaitState(cc, connectivity.Ready)
	env.golden()
}

// failOnce closes the channel after its first failed attempt.
func (env *environment) failOnce(target string, opts ...grpc.DialOption) {
	env.t.Helper()
	cc := env.dial(target, append([]grpc.DialOption{
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff, MinConnectTimeout: time.Second}),
	}, opts...)...)
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	env.golden()
}

// slowBackoff leaves no time for a second attempt, and shortDeadline too little for a first: gRPC gives an attempt as
// long as the backoff after it.
var (
	slowBackoff   = backoff.Config{BaseDelay: time.Minute, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Minute}
	shortDeadline = grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 2 * time.Second, Multiplier: 1, MaxDelay: 2 * time.Second},
	})
)

func TestRefused(t *testing.T) {
	env := newEnvironment(t)
	env.failOnce(env.freeAddress("DEAD"))
}

// Nobody answers the dial, until gRPC's deadline for it.
func TestBlackholedDial(t *testing.T) {
	env := newEnvironment(t)
	env.failOnce(env.name("192.0.2.1:1", "SILENT"), shortDeadline, grpc.WithContextDialer(func(
		ctx context.Context, _ string,
	) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
}

func TestAcceptThenClose(t *testing.T) {
	env := newEnvironment(t)
	env.failOnce(env.raw("S1", func(c net.Conn) {
		if err := drainAndClose(c); err != nil {
			t.Error(err)
		}
	}))
}

// drainAndClose reads the client's preface first, so that closing sends FIN and not RST.
func drainAndClose(c net.Conn) error {
	if _, err := io.ReadFull(c, make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")+9)); err != nil {
		return err
	}
	return c.Close()
}

// The server accepts and never says a word: it is the settings phase that fails.
func TestAcceptThenSilence(t *testing.T) {
	env := newEnvironment(t)
	env.failOnce(env.raw("S1", func(net.Conn) {}), shortDeadline)
}

func TestServerSpeaksHTTP1(t *testing.T) {
	env := newEnvironment(t)
	env.failOnce(env.raw("S1", func(c net.Conn) {
		if _, err := io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"); err != nil {
			t.Error(err)
		}
	}))
}

// ResetConnectBackoff cuts a backoff of a minute short.
func TestResetConnectBackoff(t *testing.T) {
	env := newEnvironment(t, instrument.WithBackoff(slowBackoff))
	srv := env.serve("S1")
	srv.stop()
	cc := env.dial(srv.address,
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: slowBackoff, MinConnectTimeout: patience}))
	cc.Connect()
	env.awaitState(cc, connectivity.TransientFailure)
	srv.start()
	awaitKind[event.BackoffStarted](env, 1)
	cc.ResetConnectBackoff()
	env.connect(cc)
	env.golden()
}

// A channel whose backoff is shorter than gRPC's default had each wait reported as reset.
func TestShortBackoffIsNoReset(t *testing.T) {
	env := newEnvironment(t)
	short := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}
	cc := env.dial(env.freeAddress("DEAD"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: short, MinConnectTimeout: patience}),
		grpc.WithDefaultServiceConfig(roundRobin)) // It connects again by itself.
	cc.Connect()
	awaitKind[event.BackoffEnded](env, 3)
	for _, e := range env.recorded() {
		if e, ok := e.(event.BackoffEnded); ok && e.Outcome != event.OutcomeElapsed {
			t.Errorf("%s: want elapsed", e)
		}
	}
	env.closeAll()
	env.shutdown()
}

// The user's own dialer is called as ever; its phases are seen.
func TestOwnDialer(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	asked := make(chan string, 1)
	env.connect(env.dial(srv.address, grpc.WithContextDialer(func(
		ctx context.Context, address string,
	) (net.Conn, error) {
		asked <- address
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	})))
	if have := <-asked; have != srv.address {
		t.Errorf("the dialer was asked for %q, not for %q", have, srv.address)
	}
	env.golden()
}

// A dialer that returns a connection of its own type, whose addresses are made anew at each call.
func TestOwnConn(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	cc := env.dial(srv.address, grpc.WithContextDialer(func(
		ctx context.Context, address string,
	) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		return ownConn{c}, err
	}))
	env.connect(cc)
	mustCall(t, cc)
	env.golden()
}

type ownConn struct{ net.Conn }

func (c ownConn) LocalAddr() net.Addr { return ownAddr(c.Conn.LocalAddr().String()) }

type ownAddr string

func (ownAddr) Network() string  { return "own" }
func (a ownAddr) String() string { return string(a) }

func TestUnixSocket(t *testing.T) {
	env := newEnvironment(t)
	path := env.name(filepath.Join(t.TempDir(), "s"), "S1")
	env.serveOn("unix", path)
	cc := env.dial("unix://" + path)
	env.connect(cc)
	mustCall(t, cc)
	env.golden()
}

func TestAbstractSocket(t *testing.T) {
	env := newEnvironment(t)
	name := filepath.Base(t.TempDir()) + t.Name()
	env.name("@"+name, "S1")
	env.serveOn("unix", "@"+name)
	cc := env.dial("unix-abstract:" + name)
	env.connect(cc)
	mustCall(t, cc)
	env.golden()
}

// The old ways to make a channel, which connect at once.
func TestDial(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	//lint:ignore SA1019 It is supported throughout 1.x, and in wide use.
	cc, err := grpc.Dial(srv.address, insecureOption, env.handler.DialOption())
	if err != nil {
		t.Fatal(err)
	}
	env.keep(cc)
	env.awaitState(cc, connectivity.Ready)
	env.golden()
}

func TestDialContextWithBlock(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	//lint:ignore SA1019 It is supported throughout 1.x, and in wide use.
	cc, err := grpc.DialContext(ctx, srv.address, insecureOption, grpc.WithBlock(), env.handler.DialOption())
	if err != nil {
		t.Fatal(err)
	}
	env.keep(cc)
	env.golden()
}

// A resolver that fails: no policy is made, and RPCs fail with the resolver's error.
func TestResolverError(t *testing.T) {
	env := newEnvironment(t)
	r := manual.NewBuilderWithScheme("static")
	r.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
		cc.ReportError(errors.New("no such service"))
	}
	cc := env.dial("static:///nowhere", grpc.WithResolvers(instrument.WrapResolver(r)))
	if err := call(cc); err == nil {
		t.Error("an RPC to nowhere succeeded")
	}
	env.golden()
}

// The resolver fails first and answers later.
func TestResolverErrorThenAddress(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	r, option := addresses(srv.address)
	r.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
		cc.ReportError(errors.New("try again later"))
	}
	cc := env.dial("static:///later", option)
	env.connect(cc)
	env.golden()
}

// An answer of a resolver that is not wrapped is seen by the policy.
func TestUnwrappedResolver(t *testing.T) {
	env := newEnvironment(t)
	srv := env.serve("S1")
	r := manual.NewBuilderWithScheme("static")
	r.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: srv.address}}})
	env.connect(env.dial("static:///plain", grpc.WithResolvers(r)))
	env.golden()
}
