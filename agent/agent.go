package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/agent/internal/delivery"
	"github.com/redial-dev/redial/agent/internal/journal"
	"github.com/redial-dev/redial/agent/internal/vitals"
	"github.com/redial-dev/redial/exporters/prometheus"
	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/eventlog"
	"github.com/redial-dev/redial/instrument/snapshot"
	"github.com/redial-dev/redial/internal/report"
)

// scope is the name of the agent's own metrics' scope.
const scope = "github.com/redial-dev/redial/agent"

// Agent observes channels and ships what it sees. Its methods may be called from any goroutine.
//
// Several agents may live in one process, each with its own settings; a channel given several is observed by each. They
// must not listen on one address, nor share a Prometheus registry at the same time.
type Agent struct {
	handler    *instrument.Handler
	journal    *journal.Journal
	prometheus *prometheus.Exporter // Nil where the user has a MeterProvider of their own.
	providers  *providers
	endVitals  func() error
	api        http.Handler
	server     *server // Nil unless the agent listens.
	reports    *report.Handoff

	stopping sync.Once
	stopped  chan struct{} // Closed once all is shut down.
	stopErr  error         // Set before stopped is closed.
}

// Start reads the settings, and starts what they ask for. A setting that is not allowed, a port that is taken, a
// registry that has an exporter already or a MeterProvider that gives no instruments ends it with an error that names
// it, and nothing is left running. The context is for starting only: what runs is ended by [Agent.Shutdown]. What goes
// wrong later is reported to otel.Handle.
//
// An agent may be started after another was shut down, with the same address and registry.
func Start(ctx context.Context, opts ...Option) (a *Agent, err error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("redial agent: %w", err)
	}
	reports := report.NewHandoff(otel.Handle)
	for _, unknown := range unknownVariables(os.Environ()) {
		reports.Add(unknown)
	}
	a = &Agent{journal: journal.New(cfg.journalSize), reports: reports, stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("redial agent: %w", errors.Join(err, a.abandon(ctx)))
			a = nil
		}
	}()
	limiter := report.New(reports.Add)
	if cfg.listen != "" {
		if a.server, err = listen(ctx, cfg.listen, limiter); err != nil {
			return a, err
		}
	}
	if cfg.meterProvider == nil {
		if a.prometheus, err = prometheus.New(cfg.prometheus...); err != nil {
			return a, err
		}
	}
	var observing atomic.Pointer[instrument.Handler] // No span is made before there is one, and so none is lost.
	lost := func(n int64) {
		if h := observing.Load(); h != nil {
			h.CountDropped("otlp", n)
		}
	}
	reporter := delivery.NewReporter(lost, limiter)
	if a.providers, err = newProviders(ctx, cfg, a.prometheus, reporter); err != nil {
		return a, err
	}
	if a.endVitals, err = vitals.Register(a.providers.meter, scope, a.journal, reporter); err != nil {
		return a, err
	}
	sinks := []instrument.Option{
		instrument.WithTracerProvider(a.providers.tracer), instrument.WithMeterProvider(a.providers.meter),
		instrument.WithTargetFilter(cfg.keepTarget), instrument.WithSpanRate(cfg.spanRate),
		instrument.WithMaxTargets(cfg.maxTargets), instrument.WithSink(a.journal),
	}
	if cfg.logger != nil {
		sinks = append(sinks, instrument.WithSink(eventlog.New(cfg.logger)))
	}
	a.handler = instrument.NewHandler(append(sinks, cfg.instrument...)...)
	observing.Store(a.handler)
	a.api = newAPI(a, cfg.allowedHosts())
	if a.server != nil {
		a.server.serve(a.api)
	}
	return a, nil
}

// abandon ends what was started so far, and sends nothing.
func (a *Agent) abandon(ctx context.Context) error {
	var errs []error
	if a.providers != nil {
		a.providers.reporter.GiveUp()
		errs = append(errs, a.providers.shutdown(ctx))
	}
	if a.server != nil {
		errs = append(errs, a.server.listener.Close())
	}
	if a.prometheus != nil {
		a.prometheus.Unregister()
	}
	a.reports.Wait(reportTime)
	return errors.Join(errs...)
}

// Shutdown ends every open span, sends what is still to be sent, and stops listening, as far as the context allows:
// when it is done, what is left is given up, and Shutdown returns within a second with the context's error. The
// channels live on, unobserved. A second call waits for the first, as long as its own context allows, and returns the
// same. The last reports get half a second at most to be handled by otel.Handle.
//
// A sink, such as the handler of [WithLogger], must not call it while it handles an event, and gets
// [instrument.ErrShutdownInSink].
func (a *Agent) Shutdown(ctx context.Context) error {
	observed := a.handler.Shutdown(ctx) // In the caller's goroutine, which may be that of the sinks.
	if errors.Is(observed, instrument.ErrShutdownInSink) {
		return fmt.Errorf("redial agent: %w", observed)
	}
	a.stopping.Do(func() {
		go func() {
			defer close(a.stopped)
			a.stopErr = a.shutdown(ctx, observed)
		}()
	})
	select {
	case <-a.stopped:
		return a.stopErr
	case <-ctx.Done():
		select {
		case <-a.stopped: // The first call's context is done too: it is about to return.
			return a.stopErr
		case <-time.After(giveUpTime):
			return fmt.Errorf("redial agent: shutdown: %w", ctx.Err())
		}
	}
}

const (
	// giveUpTime is how long the parts of the agent may take to give up once the context of Shutdown is done.
	giveUpTime = time.Second
	// reportTime is how long the last reports may take to be handled: a program may end after Shutdown.
	reportTime = giveUpTime / 2
)

// shutdown ends what runs. observed is how the end of the observation went.
func (a *Agent) shutdown(ctx context.Context, observed error) error {
	release := sync.OnceValue(func() error { return a.release(ctx) })
	// The providers take a while to give up, and Shutdown may return before they have.
	defer context.AfterFunc(ctx, func() { _ = release() })()
	err := errors.Join(observed, a.providers.shutdown(ctx), a.endVitals(), release())
	a.reports.Wait(reportTime)
	if err != nil {
		return fmt.Errorf("redial agent: shutdown: %w", err)
	}
	return nil
}

// release makes the port and the registry free for another agent.
func (a *Agent) release(ctx context.Context) (err error) {
	if a.server != nil {
		err = a.server.shutdown(ctx)
	}
	if a.prometheus != nil {
		a.prometheus.Unregister()
	}
	return err
}

// running reports whether the agent is not shut down.
func (a *Agent) running() bool {
	select {
	case <-a.stopped:
		return false
	default:
		return true
	}
}

// DialOption returns the option that makes a channel observed. It may be given to any number of channels.
func (a *Agent) DialOption() grpc.DialOption { return a.handler.DialOption() }

// StatsHandler returns what [Agent.DialOption] gives to channels, for frameworks that take a stats.Handler.
func (a *Agent) StatsHandler() stats.Handler { return a.handler.StatsHandler() }

// NewClient is grpc.NewClient with [Agent.DialOption] before the other options.
func (a *Agent) NewClient(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, a.with(opts)...)
}

// Dial is grpc.Dial with [Agent.DialOption] before the other options. gRPC deprecates it in favour of NewClient.
func (a *Agent) Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	//lint:ignore SA1019 It is supported throughout 1.x, and in wide use.
	return grpc.Dial(target, a.with(opts)...)
}

// DialContext is grpc.DialContext with [Agent.DialOption] before the other options. gRPC deprecates it in favour of
// NewClient.
func (a *Agent) DialContext(ctx context.Context, target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	//lint:ignore SA1019 It is supported throughout 1.x, and in wide use.
	return grpc.DialContext(ctx, target, a.with(opts)...)
}

func (a *Agent) with(opts []grpc.DialOption) []grpc.DialOption {
	return append([]grpc.DialOption{a.DialOption()}, opts...)
}

// Dialer is [instrument.Handler.Dialer]: an opt-in dialer, for grpc.WithContextDialer, that records each address that
// it tries. It dials by next, or by net.Dialer if that is nil.
func (a *Agent) Dialer(
	next func(context.Context, string) (net.Conn, error),
) func(context.Context, string) (net.Conn, error) {
	return a.handler.Dialer(next)
}

// Handler serves what the agent serves where it listens, for a mux of the user's own: /metrics, /healthz and
// /debug/redial/. The latter shows addresses and errors, so mount it where only those see it who may.
func (a *Agent) Handler() http.Handler { return a.api }

// Addr returns the address on which the agent listens, or nil.
func (a *Agent) Addr() net.Addr {
	if a.server == nil {
		return nil
	}
	return a.server.listener.Addr()
}

// Channels describes what the observed channels are doing now, by their ids.
func (a *Agent) Channels() []snapshot.Channel { return a.handler.Channels() }
