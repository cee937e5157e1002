package instrument

import (
	"reflect"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
)

// DialOption makes redial observe the channel that is given it. Call it for each channel. Without options all channels
// of the process share one handler, with the global providers. With options it is short for
// NewHandler(opts...).DialOption() and makes a handler, which stays for as long as its meter provider: for several
// channels keep a handler, and call its [Handler.DialOption] for each.
func DialOption(opts ...Option) grpc.DialOption {
	if len(opts) == 0 {
		return sharedHandler().DialOption()
	}
	return NewHandler(opts...).DialOption()
}

// shared is the handler of all channels whose option says nothing of its own. A program that asks for the option at
// each dial has one handler then: each takes memory, and a callback at each collection, for as long as the process
// lives.
var shared struct {
	mu      sync.Mutex
	tracer  trace.TracerProvider
	meter   metric.MeterProvider
	handler *Handler
}

// sharedHandler returns the handler of the global providers, which is another one where a program has set others.
func sharedHandler() *Handler {
	tracer, meter := otel.GetTracerProvider(), otel.GetMeterProvider()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.handler == nil || !same(shared.tracer, tracer) || !same(shared.meter, meter) {
		shared.tracer, shared.meter, shared.handler = tracer, meter, NewHandler()
	}
	return shared.handler
}

// same reports whether two providers are one. Those of types that cannot be compared are not.
func same(a, b any) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}
