package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

// The load balancing policies that are compared.
const (
	pickFirst  = "pick_first"
	roundRobin = "round_robin"
)

const (
	calm      = time.Second     // A time in which nothing is done.
	outage    = 2 * time.Second // How long the server is away: enough for two attempts of gRPC's default backoff.
	readyTime = 20 * time.Second
)

// observer sees what the scenario does, what its callers get, and redial's events. Its methods are called from several
// goroutines.
type observer interface {
	// begin announces a policy whose channel is next.
	begin(policy string)
	// announce announces what is done next.
	announce(text string)
	// answered reports an RPC that succeeded, and the local address of its connection.
	answered(rpc, connection string)
	// failed reports an RPC that failed.
	failed(rpc string, err error, took time.Duration)
	// handle takes an event.
	handle(event.Event)
}

// observers are several, called in order.
type observers []observer

func (all observers) begin(policy string) {
	for _, o := range all {
		o.begin(policy)
	}
}

func (all observers) announce(text string) {
	for _, o := range all {
		o.announce(text)
	}
}

func (all observers) answered(rpc, connection string) {
	for _, o := range all {
		o.answered(rpc, connection)
	}
}

func (all observers) failed(rpc string, err error, took time.Duration) {
	for _, o := range all {
		o.failed(rpc, err, took)
	}
}

func (all observers) handle(e event.Event) {
	for _, o := range all {
		o.handle(e)
	}
}

// scenario does to the server what the callers of one channel are to experience.
type scenario struct {
	settings
	policy   string
	server   *server
	cc       *grpc.ClientConn
	callers  *callers
	observer observer
}

// runScenario runs the scenario with each policy. When it returns, the observer has seen everything. It ends early
// with an error where the context is done.
func runScenario(ctx context.Context, s settings, a *agent.Agent, o observer, spans trace.TracerProvider) error {
	srv := &server{address: s.server}
	if err := srv.start(); err != nil {
		return err
	}
	var err error
	for _, policy := range []string{pickFirst, roundRobin} {
		o.begin(policy)
		if err = playPolicy(ctx, &scenario{settings: s, policy: policy, server: srv, observer: o}, a, spans); err != nil {
			break
		}
	}
	return errors.Join(err, srv.stop())
}

// playPolicy opens a channel, observed by the agent and by a handler of its own for the observer, and closes both.
func playPolicy(ctx context.Context, s *scenario, a *agent.Agent, spans trace.TracerProvider) (err error) {
	handler := instrument.NewHandler(instrument.WithTracerProvider(spans),
		instrument.WithMeterProvider(noop.NewMeterProvider()),
		instrument.WithSpanRate(0),
		instrument.WithSink(event.SinkFunc(func(_ context.Context, e event.Event) { s.observer.handle(e) })))
	defer func() {
		limited, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		err = errors.Join(err, handler.Shutdown(limited))
	}()
	s.cc, err = a.NewClient(s.server.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		handler.DialOption(),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, s.policy)))
	if err != nil {
		return fmt.Errorf("make a channel to %s: %w", s.server.address, err)
	}
	s.callers = newCallers(s.cc, s.interval, s.observer)
	if err = s.cycles(ctx); err == nil {
		s.observer.announce("the client closes its channel")
	}
	return errors.Join(err, s.cc.Close())
}

func (s *scenario) cycles(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.observer.announce(fmt.Sprintf("the callers begin to call %s", s.server.address))
	stop := s.callers.start(ctx)
	defer func() { stop() }()
	if err := s.settle(ctx); err != nil {
		return err
	}
	for n := range s.settings.cycles {
		title := ""
		if s.settings.cycles > 1 {
			title = fmt.Sprintf("cycle %d of %d: ", n+1, s.settings.cycles)
		}
		if err := s.cycle(ctx, title); err != nil {
			return err
		}
	}
	s.observer.announce("the callers pause")
	stop()
	stop = func() {}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.observer.announce("the connection is cut while there is no RPC")
	if err := errors.Join(s.server.cut(), pause(ctx, calm)); err != nil {
		return err
	}
	s.observer.announce("the callers go on")
	stop = s.callers.start(ctx)
	return s.settle(ctx)
}

func (s *scenario) cycle(ctx context.Context, title string) error {
	s.observer.announce(title + "the server is stopped")
	if err := errors.Join(s.server.stop(), pause(ctx, outage)); err != nil {
		return err
	}
	s.observer.announce(title + "the server is started again")
	if err := s.server.start(); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.observer.announce(title + "the connection is cut (RST)")
	if err := s.server.cut(); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.observer.announce(title + "the server is replaced, and says GOAWAY")
	if err := s.server.restart(); err != nil {
		return err
	}
	return s.settle(ctx)
}

// settle waits until the channel is READY, and a while longer.
func (s *scenario) settle(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for state := s.cc.GetState(); state != connectivity.Ready; state = s.cc.GetState() {
		if !s.cc.WaitForStateChange(waiting, state) {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("the channel was not READY within %v, but %v", readyTime, state)
		}
	}
	return pause(ctx, calm)
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
