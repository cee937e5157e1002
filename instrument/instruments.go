package instrument

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/redial-dev/redial/instrument/internal/ask"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/metrics"
	"github.com/redial-dev/redial/instrument/internal/sample"
)

// setUpTime is how long [NewHandler] waits for a provider.
const setUpTime = 5 * time.Second

// instruments are what a handler records metrics with.
type instruments struct {
	sink *metrics.Sink
	tcp  *metrics.TCP  // Nil where sockets are not sampled.
	grpc *metrics.GRPC // Nil where gRPC's own metrics are not passed on.
	err  error
}

// setUp asks providers for what a handler needs. What panics, blocks or is nil is replaced by what does nothing, and
// reported.
type setUp struct {
	cfg   config
	asker *ask.Asker
}

func newSetUp(cfg config) setUp { return setUp{cfg, ask.New(cfg.setUpTime)} }

// tracer returns the tracer of the provider.
func (s setUp) tracer() (tracer trace.Tracer, err error) {
	made, err := settle(s, "the tracer provider", func() (trace.Tracer, error) {
		tracer := s.cfg.tracerProvider.Tracer(ScopeName,
			trace.WithInstrumentationVersion(Version), trace.WithSchemaURL(semconv.SchemaURL))
		if tracer == nil {
			return nil, errors.New("it returned no tracer")
		}
		return tracer, nil
	})
	if made == nil {
		return nooptrace.NewTracerProvider().Tracer(ScopeName), err
	}
	return made, err
}

// instruments returns those of the provider's meter. gRPC's own have names of targets by a function.
func (s setUp) instruments(nameOfDialed func(string) string) instruments {
	made, err := settle(s, "the meter provider", func() (*instruments, error) {
		meter := s.cfg.meterProvider.Meter(ScopeName,
			metric.WithInstrumentationVersion(Version), metric.WithSchemaURL(semconv.SchemaURL))
		if meter == nil {
			return nil, errors.New("it returned no meter")
		}
		return s.instrumentsOf(meter, nameOfDialed), nil
	})
	if made == nil {
		made = s.instrumentsOf(noopmetric.NewMeterProvider().Meter(ScopeName), nameOfDialed)
		made.err = err
	}
	return *made
}

func (s setUp) instrumentsOf(meter metric.Meter, nameOfDialed func(string) string) *instruments {
	var i instruments
	var errs [3]error
	i.sink, errs[0] = metrics.New(meter)
	if s.cfg.tcpEvery > 0 {
		i.tcp, errs[1] = metrics.NewTCP(meter)
	}
	if !s.cfg.withoutGRPC {
		i.grpc, errs[2] = metrics.NewGRPC(meter, nameOfDialed)
	}
	i.err = errors.Join(errs[:]...)
	return &i
}

// observe makes the gauges of instruments show what is counted at each collection.
func (s setUp) observe(i instruments, count func() sample.ByTarget) error {
	_, err := settle(s, "the meter provider", func() (struct{}, error) { return struct{}{}, i.sink.Observe(count) })
	return err
}

// settle calls what a provider makes something with. Where that panics or takes too long there is an error, and nothing
// made.
func settle[T any](s setUp, of string, make func() (T, error)) (T, error) {
	type result struct {
		made T
		err  error
	}
	r, inTime := ask.For(s.asker, func() (r result) {
		r.err = guard.Catch(func() (err error) {
			r.made, err = make()
			return err
		})
		return r
	})
	switch {
	case !inTime:
		return r.made, fmt.Errorf("redial: %s takes longer than %v: there is nothing of it", of, s.cfg.setUpTime)
	case r.err != nil:
		return r.made, fmt.Errorf("redial: %s: %w", of, r.err)
	}
	return r.made, nil
}
