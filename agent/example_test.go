package agent_test

import (
	"context"
	"log"
	"log/slog"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/agent"
	"github.com/redial-dev/redial/exporters/otlp"
	"github.com/redial-dev/redial/exporters/prometheus"
)

// Two lines observe a channel. Where it ships to, the environment says.
func Example() {
	ctx := context.Background()
	a, err := agent.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	cc, err := a.NewClient("dns:///service.example:443", grpc.WithTransportCredentials(credentials.NewTLS(nil)))
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := cc.Close(); err != nil {
			log.Print(err)
		}
		if err := a.Shutdown(ctx); err != nil {
			log.Print(err)
		}
	}()
}

// Prometheus only: the agent listens, and nothing is sent.
func ExampleStart_prometheus() {
	ctx := context.Background()
	a, err := agent.Start(ctx, agent.WithListen("127.0.0.1:0"), agent.WithPrometheus(prometheus.WithGoCollector()))
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("metrics at http://%v/metrics", a.Addr())
	if err := a.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}

// OTLP only, to a collector that code names.
func ExampleStart_otlp() {
	ctx := context.Background()
	a, err := agent.Start(ctx, agent.WithOTLP(
		otlp.WithProtocol(otlp.GRPC), otlp.WithEndpointURL("http://127.0.0.1:4317")))
	if err != nil {
		log.Fatal(err)
	}
	if err := a.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}

// Metrics and API in a mux of one's own, and events in one's own log.
func ExampleAgent_Handler() {
	ctx := context.Background()
	a, err := agent.Start(ctx, agent.WithLogger(slog.Default().Handler()))
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", a.Handler())
	mux.Handle("/debug/redial/", a.Handler())
	if err := a.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}

// The option for a channel that is made elsewhere.
func ExampleAgent_DialOption() {
	ctx := context.Background()
	a, err := agent.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	cc, err := grpc.NewClient("dns:///service.example:443",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)), a.DialOption())
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
	if err := a.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}

// The events that a program has seen.
func ExampleAgent_Events() {
	ctx := context.Background()
	a, err := agent.Start(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range a.Events(agent.Query{Kind: "teardown"}) {
		log.Printf("%s", e.Line)
	}
	if err := a.Shutdown(ctx); err != nil {
		log.Print(err)
	}
}
