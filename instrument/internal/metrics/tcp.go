package metrics

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/redial-dev/redial/instrument/internal/sample"
	"github.com/redial-dev/redial/internal/signal"
)

// TCP records what the sockets do, as gRFC A80 names it.
type TCP struct {
	minRTT                      metric.Float64Histogram
	deliveryRate                metric.Int64Histogram
	sent, retransmits, spurious metric.Int64Counter
}

// The buckets that gRFC A80 recommends for round-trip times, and powers of four for rates in bytes per second.
var (
	rtt = []float64{
		0.000001, 0.0000025, 0.000005, 0.0000075, 0.00001, 0.000025, 0.00005, 0.000075, 0.0001, 0.00025, 0.0005, 0.00075,
		0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 25, 50, 75, 100,
	}
	rate = []float64{
		1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28, 1 << 30, 1 << 32, 1 << 34,
	}
)

// NewTCP makes the instruments.
func NewTCP(meter metric.Meter) (*TCP, error) {
	m := maker{meter: meter}
	t := &TCP{
		minRTT:      m.histogram(signal.TCPMinRTT, "TCP's estimate of the least round-trip time.", rtt),
		sent:        m.counter(signal.TCPPacketsSent, "{packet}", "TCP packets sent."),
		retransmits: m.counter(signal.TCPPacketsRetransmitted, "{packet}", "TCP packets sent again."),
		spurious:    m.counter(signal.TCPPacketsSpurious, "{packet}", "TCP packets sent again without need."),
	}
	t.deliveryRate = m.rates(signal.TCPDeliveryRate, "By/s", "TCP's measure of the goodput.", rate)
	return t, errors.Join(m.errs...)
}

// Record records a sample.
func (t *TCP) Record(s sample.TCP) {
	ctx, of := context.Background(), metric.WithAttributes(signal.Target.String(s.Target))
	t.minRTT.Record(ctx, s.MinRTT.Seconds(), of)
	t.deliveryRate.Record(ctx, int64(s.DeliveryRate), of)
	t.sent.Add(ctx, s.Sent, of)
	t.retransmits.Add(ctx, s.Retransmits, of)
	t.spurious.Add(ctx, s.Spurious, of)
}
