package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/deploy/demo/echo"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
)

const (
	calm   = time.Second     // A while in which nothing is done.
	outage = 2 * time.Second // How long the server is away: enough for two attempts of gRPC's default backoff.
	limit  = 20 * time.Second
)

// play runs the server and the callers, and does to the server what each cycle prescribes. It returns when all of that
// is over and the sink was told of everything. A context that is done ends it early, and is no error.
func play(ctx context.Context, s settings, sink event.Sink, tell audience) (err error) {
	srv := &server{address: s.server}
	if err := srv.start(); err != nil {
		return err
	}
	a, err := agent.Start(ctx, agent.WithListen(s.listen), agent.WithInstrument(instrument.WithSink(sink)))
	if err != nil {
		return errors.Join(err, srv.stop())
	}
	if a.Addr() != nil {
		tell.act(fmt.Sprintf("redial serves http://%v/metrics and http://%v/debug/redial/api/v1/channels", a.Addr(), a.Addr()))
	}
	err = withChannel(ctx, s, srv, a, tell)
	end, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return errors.Join(err, srv.stop(), a.Shutdown(end))
}

// withChannel makes the channel that all is about, and closes it when the play is over.
func withChannel(ctx context.Context, s settings, srv *server, a *agent.Agent, tell audience) error {
	cc, err := a.NewClient(srv.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("make a channel to %s: %w", srv.address, err)
	}
	stopCallers := callAll(ctx, echo.NewEchoClient(cc), s.interval, tell)
	err = cycles(ctx, s, srv, cc, tell)
	stopCallers()
	tell.act("the client closes its channel")
	return errors.Join(err, cc.Close())
}

func cycles(ctx context.Context, s settings, srv *server, cc *grpc.ClientConn, tell audience) error {
	tell.act(fmt.Sprintf("three callers call the echo server at %s, each %v: \"quick\", \"patient\" (wait-for-ready) and \"slow\"", srv.address, s.interval))
	if err := settle(ctx, cc); err != nil {
		return err
	}
	for n := 1; n <= s.cycles && ctx.Err() == nil; n++ {
		if err := cycle(ctx, fmt.Sprintf("cycle %d of %d: ", n, s.cycles), srv, cc, tell); err != nil {
			return err
		}
	}
	return nil
}

func cycle(ctx context.Context, title string, srv *server, cc *grpc.ClientConn, tell audience) error {
	tell.act(title + "the server is stopped")
	if err := srv.stop(); err != nil {
		return err
	}
	pause(ctx, outage)
	tell.act(title + "the server is started again")
	if err := srv.start(); err != nil {
		return err
	}
	if err := settle(ctx, cc); err != nil {
		return err
	}
	tell.act(title + "the connection is cut (RST)")
	if err := srv.cut(); err != nil {
		return fmt.Errorf("cut the connection: %w", err)
	}
	if err := settle(ctx, cc); err != nil {
		return err
	}
	tell.act(title + "the server is replaced by a new one, and says GOAWAY")
	if err := srv.restart(); err != nil {
		return err
	}
	return settle(ctx, cc)
}

// settle waits until the channel is READY, and a while longer.
func settle(ctx context.Context, cc *grpc.ClientConn) error {
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() {
		if !cc.WaitForStateChange(waiting, state) && ctx.Err() == nil {
			return fmt.Errorf("the channel was not READY within %v, but %v", limit, state)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
	pause(ctx, calm)
	return nil
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
