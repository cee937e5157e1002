package instrument_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/instrument"
)

// mode is what becomes of a call of something that is not redial's own.
type mode string

const (
	panics  mode = "panics"
	blocks  mode = "blocks"
	nothing mode = "returns nil"
	fails   mode = "fails"
)

var errFault = errors.New("a fault")

// fault happens at each call of something, while a test runs.
type fault struct {
	mode     mode
	hits     atomic.Int64
	released chan struct{} // What blocks returns when it is closed.
}

// occurs does what the mode says, and reports whether the call shall return nothing, and its error.
func (f *fault) occurs() (none bool, err error) {
	f.hits.Add(1)
	switch f.mode {
	case panics:
		panic("a fault")
	case blocks:
		<-f.released
	case nothing:
		return true, nil
	case fails:
		return true, errFault
	}
	return false, nil
}

// returnsNothing is occurs for a call that returns no error.
func (f *fault) returnsNothing() bool {
	none, _ := f.occurs()
	return none
}

// at is which call of something is faulty.
type at string

const (
	ofProvider     at = "a provider's only call"
	ofMaking       at = "the making of an instrument or a span"
	ofCallback     at = "RegisterCallback"
	ofRegistration at = "Unregister"
	ofUse          at = "the use of an instrument or a span"
	ofBuild        at = "Build"
	ofAnswer       at = "UpdateState of a resolver"
	ofAsking       at = "ResolveNow"
	ofClosing      at = "Close"
	ofPicker       at = "UpdateState of a policy"
	ofPick         at = "Pick"
	ofText         at = "String"
)

// goroutinesOfRedial counts those that redial started.
func goroutinesOfRedial() int {
	all := make([]byte, 1<<20)
	return bytes.Count(all[:runtime.Stack(all, true)], []byte("\ncreated by github.com/redial-dev/redial/instrument"))
}

// channelOptions are those of a channel to an address, with a handler of redial's, or nil.
type channelOptions func(f *fault, to string, h *instrument.Handler) (target string, opts []grpc.DialOption)

// things are what is not redial's own, at each call that redial or gRPC makes of it. Each is given a fault, and returns
// options of a handler, and of the channel, which a channel without redial has too.
var things = []struct {
	name  string
	modes []mode
	// quick: redial waits for the call, and no longer than a moment.
	quick bool
	// dead: the channel connects neither with redial nor without.
	dead bool
	// rare: not every run calls it.
	rare    bool
	handler func(*fault) []instrument.Option
	channel channelOptions
}{
	{name: "Meter", modes: []mode{panics, blocks, nothing}, quick: true, handler: meterAt(ofProvider)},
	{name: "making an instrument", modes: []mode{panics, blocks, nothing, fails}, quick: true, handler: meterAt(ofMaking)},
	{name: "RegisterCallback", modes: []mode{panics, blocks, nothing, fails}, quick: true, handler: meterAt(ofCallback)},
	{name: "Unregister", modes: []mode{panics, blocks, fails}, handler: meterAt(ofRegistration)},
	{name: "an instrument", modes: []mode{panics, blocks}, handler: meterAt(ofUse)},
	{name: "a view", modes: []mode{panics, blocks, nothing}, quick: true, handler: viewed},
	{name: "an AttributeFilter", modes: []mode{panics, blocks, nothing}, handler: attributesFiltered},
	{name: "Tracer", modes: []mode{panics, blocks, nothing}, quick: true, handler: tracerAt(ofProvider)},
	{name: "Start", modes: []mode{panics, blocks, nothing}, handler: tracerAt(ofMaking)},
	{name: "a span", modes: []mode{panics, blocks}, handler: tracerAt(ofUse)},
	{name: "a sampler", modes: []mode{panics, blocks, nothing}, handler: sampled},
	{name: "a span processor", modes: []mode{panics, blocks}, handler: processed},
	{name: "a sink", modes: []mode{panics, blocks}, handler: sunk},
	{name: "a log handler", modes: []mode{panics, blocks, fails}, handler: logged},
	{name: "a target filter", modes: []mode{panics, blocks, nothing}, quick: true, handler: targetsFiltered},
	{name: "a target rename", modes: []mode{panics, blocks, nothing}, quick: true, handler: targetsRenamed},
	{name: "the handler of errors", modes: []mode{panics, blocks}, handler: reported},
	{name: "the text of an address", modes: []mode{panics, blocks, nothing}, quick: true,
		channel: conns(func(f *fault, c net.Conn) net.Conn { return textless{c, f} })},
	{name: "a local address", modes: []mode{nothing},
		channel: conns(func(f *fault, c net.Conn) net.Conn { return localless{c, f} })},
	{name: "a remote address", modes: []mode{nothing},
		channel: conns(func(f *fault, c net.Conn) net.Conn { return remoteless{c, f} })},
	{name: "closing a connection", modes: []mode{fails},
		channel: conns(func(f *fault, c net.Conn) net.Conn { return unclosed{c, f} })},
	{name: "a socket", modes: []mode{fails},
		channel: conns(func(f *fault, c net.Conn) net.Conn { return socketless{c, f} })},
	{name: "setting a deadline", modes: []mode{fails},
		channel: conns(func(f *fault, c net.Conn) net.Conn { return timeless{c, f} })},
	{name: "AuthInfo", modes: []mode{panics, blocks, nothing}, rare: true, channel: secured},
	{name: "a handshake", modes: []mode{fails}, dead: true, channel: secured},
	{name: "a dialer", modes: []mode{blocks, fails}, dead: true, channel: dialed},
	{name: "a dialer that redial calls", modes: []mode{blocks, fails}, dead: true, channel: passedOn},
	{name: "a resolver's Build", modes: []mode{nothing, fails}, dead: true, channel: resolvers(ofBuild)},
	{name: "a resolver's answer", modes: []mode{nothing, fails}, dead: true, channel: resolvers(ofAnswer)},
	{name: "ResolveNow", modes: []mode{blocks}, rare: true, channel: resolvers(ofAsking)},
	{name: "closing a resolver", modes: []mode{blocks}, channel: resolvers(ofClosing)},
	{name: "a policy's Build", modes: []mode{nothing}, dead: true, channel: policies(ofBuild)},
	{name: "a policy's picker", modes: []mode{nothing, fails}, dead: true, channel: policies(ofPicker)},
	{name: "a picked SubConn", modes: []mode{nothing}, dead: true, channel: policies(ofPick)},
	{name: "the text of a SubConn", modes: []mode{panics, blocks, nothing}, rare: true, channel: policies(ofText)},
}

// What is not redial's own may panic, block, fail or return nil at each call: the client does what it does without
// redial, and no goroutine is left.
func TestFaults(t *testing.T) {
	for _, thing := range things {
		for _, m := range thing.modes {
			t.Run(thing.name+" "+string(m), func(t *testing.T) {
				before := goleak.IgnoreCurrent()
				t.Cleanup(func() { goleak.VerifyNone(t, before) })
				otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
				client := func() *client {
					f := &fault{mode: m, released: make(chan struct{})}
					return &client{t: t, fault: f, dead: thing.dead, channel: thing.channel}
				}
				without, with := client(), client()
				var opts []instrument.Option
				if thing.quick && m == blocks {
					opts = append(opts, instrument.WithPatience(10*time.Millisecond))
				}
				if thing.handler != nil {
					opts = append(opts, thing.handler(with.fault)...)
				}
				with.handler = instrument.NewHandler(opts...)
				if have, want := with.run(), without.run(); !slices.Equal(have, want) {
					t.Errorf("with redial the client sees\n%v\nand without\n%v", have, want)
				}
				if !thing.rare && with.fault.hits.Load() == 0 {
					t.Errorf("%s was never called: the test shows nothing", thing.name)
				}
			})
		}
	}
}

// outcome is what a client sees, step by step.
type outcome []string

// client is one that connects, loses its server, finds it again, and is closed.
type client struct {
	t       *testing.T
	fault   *fault
	dead    bool
	channel channelOptions
	handler *instrument.Handler // Nil: without redial.
	seen    outcome
}

// briefly is how long an RPC of a channel that does not connect waits.
const briefly = 300 * time.Millisecond

func (c *client) run() outcome {
	c.t.Helper()
	env := &environment{t: c.t, names: map[string]string{}}
	srv := env.serve("S1")
	target, opts := srv.address, []grpc.DialOption{insecureOption}
	if c.channel != nil {
		target, opts = c.channel(c.fault, srv.address, c.handler)
	}
	quick := backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}
	opts = append(opts, grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: patience}))
	if c.handler != nil {
		opts = append(opts, c.handler.DialOption())
	}
	cc, err := grpc.NewClient(target, opts...)
	if err != nil {
		c.t.Fatal(err)
	}
	cc.Connect()
	if c.dead {
		c.call(cc, briefly, grpc.WaitForReady(true))
	} else {
		c.live(env, srv, cc)
	}
	goroutines := c.close(cc)
	srv.stop()
	if goroutines > 20 {
		c.t.Errorf("%d goroutines of redial's", goroutines)
	}
	return c.seen
}

// live does what a client of a server that comes and goes does.
func (c *client) live(env *environment, srv *server, cc *grpc.ClientConn) {
	c.state(env, cc, connectivity.Ready)
	c.call(cc, patience)
	end := env.stream(cc)
	srv.stop()
	c.note(status.Code(end()).String())
	c.call(cc, patience)
	srv.start()
	c.call(cc, patience, grpc.WaitForReady(true))
	c.state(env, cc, connectivity.Ready)
}

// close closes the channel and shuts redial down. It returns how many goroutines of redial's there are while what
// blocks blocks.
func (c *client) close(cc *grpc.ClientConn) (goroutines int) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := cc.Close(); err != nil {
			c.t.Error(err)
		}
	}()
	if c.handler == nil {
		close(c.fault.released)
		<-closed
	} else {
		if c.channel == nil {
			<-closed // Nothing of the client's own blocks.
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		_ = c.handler.Shutdown(ctx) // It returns, whatever blocks.
		cancel()
		goroutines = goroutinesOfRedial()
		close(c.fault.released)
		<-closed
		_ = c.handler.Shutdown(context.Background())
	}
	c.call(cc, patience)
	c.note(cc.GetState().String())
	return goroutines
}

func (c *client) note(what string) { c.seen = append(c.seen, what) }

func (c *client) call(cc *grpc.ClientConn, limit time.Duration, opts ...grpc.CallOption) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c.note(status.Code(callWith(ctx, cc, opts...)).String())
}

func (c *client) state(env *environment, cc *grpc.ClientConn, want connectivity.State) {
	env.awaitUnobserved(cc, want)
	c.note(want.String())
}
