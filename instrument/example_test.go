package instrument_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/redial-dev/redial/instrument"
	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/eventlog"
)

// The shortest way: one option, with the global OpenTelemetry providers.
func ExampleDialOption() {
	cc, err := grpc.NewClient("dns:///service.example:443",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)), instrument.DialOption())
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
}

// A program with an OpenTelemetry SDK of its own. The handler is shut down before the provider, so that the spans
// that are still open get their end.
func ExampleNewHandler() {
	ctx := context.Background()
	exporter, err := stdouttrace.New()
	if err != nil {
		log.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	handler := instrument.NewHandler(instrument.WithTracerProvider(provider))
	cc, err := grpc.NewClient("dns:///service.example:443",
		grpc.WithTransportCredentials(insecure.NewCredentials()), handler.DialOption())
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := cc.Close(); err != nil {
			log.Print(err)
		}
		if err := handler.Shutdown(ctx); err != nil {
			log.Print(err)
		}
		if err := provider.Shutdown(ctx); err != nil {
			log.Print(err)
		}
	}()
}

// Below round_robin each backend is an endpoint with episodes of its own. gRPC's policies need no wrapping.
func ExampleDialOption_roundRobin() {
	cc, err := grpc.NewClient("dns:///service.example:443",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		instrument.DialOption())
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
}

// The credentials stay as they are. The span of the handshake has the protocol, the cipher and the certificate's end.
func ExampleDialOption_tls() {
	creds, err := credentials.NewClientTLSFromFile("ca.pem", "service.example")
	if err != nil {
		fmt.Println("no such file here")
		return
	}
	cc, err := grpc.NewClient("dns:///service.example:443", grpc.WithTransportCredentials(creds), instrument.DialOption())
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
	// Output: no such file here
}

// A sink handles every event. This one prints the failures.
func ExampleWithSink() {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	dead := lis.Addr().String()
	if err := lis.Close(); err != nil {
		log.Fatal(err)
	}
	failed := make(chan event.AttemptEnded, 1)
	cc, err := grpc.NewClient(dead, grpc.WithTransportCredentials(insecure.NewCredentials()),
		instrument.DialOption(instrument.WithSink(event.SinkFunc(func(_ context.Context, e event.Event) {
			if e, ok := e.(event.AttemptEnded); ok && e.Outcome == event.OutcomeFailed {
				failed <- e
			}
		}))))
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
	cc.Connect()
	e := <-failed
	fmt.Println("attempt", e.Number, "failed in", e.Phase, "with", e.ErrorType)
	// Output: attempt 1 failed in dial with connection_refused
}

// Events as log records.
func ExampleWithSink_slog() {
	instrument.DialOption(instrument.WithSink(eventlog.New(slog.NewTextHandler(os.Stderr, nil))))
}

// Where a process dials targets of unbounded number, those of no interest share their time series.
func ExampleWithTargetFilter() {
	instrument.DialOption(instrument.WithTargetFilter(func(target string) bool {
		return strings.HasSuffix(target, ".example:443")
	}))
}

// A policy that makes subchannels by itself is registered as WrapBalancer of itself. Its name stays the same.
func ExampleWrapBalancer() {
	mine := balancer.Get(roundrobin.Name)
	fmt.Println(instrument.WrapBalancer(mine).Name())
	// Output: round_robin
}

// A resolver of a scheme of one's own, observed: how long it took is recorded.
func ExampleWrapResolver() {
	mine := manual.NewBuilderWithScheme("mine")
	mine.InitialState(resolver.State{Addresses: []resolver.Address{{Addr: "127.0.0.1:443"}}})
	cc, err := grpc.NewClient("mine:///service", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithResolvers(instrument.WrapResolver(mine)), instrument.DialOption())
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
}

// The dialer that records each address that it tries.
func ExampleHandler_Dialer() {
	handler := instrument.NewHandler()
	cc, err := grpc.NewClient("dns:///service.example:443", grpc.WithTransportCredentials(insecure.NewCredentials()),
		handler.DialOption(), grpc.WithContextDialer(handler.Dialer(nil)))
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
}
