package e2e

import (
	"log"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/instrument"
)

// Beside otelgrpc redial's option comes first, so that what it notes on an RPC's span finds that span still open.
func Example_otelgrpc() {
	cc, err := grpc.NewClient("dns:///service.example:443",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		instrument.DialOption(),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
	if err != nil {
		log.Fatal(err)
	}
	defer cc.Close()
}
