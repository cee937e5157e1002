// Package agent is redial for programs that have no OpenTelemetry SDK set up. In two lines it observes a channel and
// ships what it sees:
//
//	a, err := agent.Start(ctx)
//	cc, err := a.NewClient(target, opts...)
//
// It is configured by OpenTelemetry's own environment variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME ...),
// by a few of redial's own, which docs/agent.md lists, and by options in code, which win. Nothing listens and nothing
// is sent unless that is configured.
//
// A program that has an SDK uses package instrument alone, or gives its providers to the agent.
package agent
