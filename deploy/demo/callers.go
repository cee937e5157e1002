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

// deadline is that of each RPC.
const deadline = 10 * time.Second

// caller makes one RPC after the other.
type caller struct {
	name string
	// delay is how long the server takes to answer.
	delay time.Duration
	opts  []grpc.CallOption
	calls int
}

// callers share a channel.
type callers struct {
	all      []*caller
	client   echo.EchoClient
	interval time.Duration
	observer observer
}

func newCallers(cc *grpc.ClientConn, interval time.Duration, o observer) *callers {
	return &callers{
		all: []*caller{
			{name: "quick"},
			{name: "wait-for-ready", opts: []grpc.CallOption{grpc.WaitForReady(true)}},
			{name: "slow", delay: 2 * interval},
		},
		client: echo.NewEchoClient(cc), interval: interval, observer: o,
	}
}

// start lets each caller make an RPC every interval, and returns a function that waits for the RPCs under way and lets
// them make no more. A context that is done cancels the RPCs.
func (c *callers) start(ctx context.Context) (stop func()) {
	on, off := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, one := range c.all {
		running.Go(func() {
			tick := time.NewTicker(c.interval)
			defer tick.Stop()
			for on.Err() == nil {
				c.call(ctx, one)
				select {
				case <-tick.C:
				case <-on.Done():
				}
			}
		})
	}
	return func() {
		off()
		running.Wait()
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

func (c *callers) call(ctx context.Context, by *caller) {
	by.calls++
	rpc := fmt.Sprintf("%s %d", by.name, by.calls)
	callCtx, cancel := context.WithTimeout(context.WithValue(ctx, rpcKey{}, rpc), deadline)
	defer cancel()
	start := time.Now()
	resp, err := c.client.Say(callCtx, &echo.SayRequest{Text: rpc, DelayMs: by.delay.Milliseconds()}, by.opts...)
	switch {
	case err == nil:
		c.observer.answered(rpc, resp.GetClient())
	case ctx.Err() == nil: // Else the run was interrupted.
		c.observer.failed(rpc, fmt.Errorf("%v: %s", status.Code(err), status.Convert(err).Message()), time.Since(start))
	}
}
