package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/redial-dev/redial/deploy/demo/echo"
)

// patience is the deadline of each RPC.
const patience = 10 * time.Second

// audience is told what the play does and what its callers see.
type audience interface {
	// act tells what is done to the server.
	act(text string)
	// answered tells that an RPC succeeded, and over which connection.
	answered(rpc, client string, took time.Duration)
	// failed tells that an RPC failed.
	failed(rpc string, err error, took time.Duration)
}

// tee is several audiences.
type tee []audience

func (t tee) act(text string) {
	for _, a := range t {
		a.act(text)
	}
}

func (t tee) answered(rpc, client string, took time.Duration) {
	for _, a := range t {
		a.answered(rpc, client, took)
	}
}

func (t tee) failed(rpc string, err error, took time.Duration) {
	for _, a := range t {
		a.failed(rpc, err, took)
	}
}

// caller makes one RPC after the other.
type caller struct {
	name string
	// delay is how long the server takes to answer.
	delay time.Duration
	opts  []grpc.CallOption
}

func callers(interval time.Duration) []caller {
	return []caller{
		{name: "quick"},
		{name: "patient", opts: []grpc.CallOption{grpc.WaitForReady(true)}},
		{name: "slow", delay: 2 * interval},
	}
}

// rpcKey is the context key of an RPC's name, by which its events know it.
type rpcKey struct{}

func rpcName(ctx context.Context) string {
	name, ok := ctx.Value(rpcKey{}).(string)
	if !ok {
		return "an RPC"
	}
	return name
}

// call makes an RPC each interval until the context is done.
func (c caller) call(ctx context.Context, client echo.EchoClient, interval time.Duration, tell audience) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		c.one(ctx, client, fmt.Sprintf("%s %d", c.name, n), tell)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (c caller) one(ctx context.Context, client echo.EchoClient, rpc string, tell audience) {
	callCtx, cancel := context.WithTimeout(context.WithValue(ctx, rpcKey{}, rpc), patience)
	defer cancel()
	start := time.Now()
	resp, err := client.Say(callCtx, &echo.SayRequest{Text: rpc, DelayMs: c.delay.Milliseconds()}, c.opts...)
	switch {
	case err == nil:
		tell.answered(rpc, resp.GetClient(), time.Since(start))
	case ctx.Err() == nil: // Else it was the play that ended, and not the RPC that failed.
		tell.failed(rpc, fmt.Errorf("%v: %s", status.Code(err), status.Convert(err).Message()), time.Since(start))
	}
}

// callAll starts the callers, and returns a function that stops them and waits for that.
func callAll(ctx context.Context, client echo.EchoClient, interval time.Duration, tell audience) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, c := range callers(interval) {
		all.Go(func() { c.call(ctx, client, interval, tell) })
	}
	return func() {
		cancel()
		all.Wait()
	}
}
