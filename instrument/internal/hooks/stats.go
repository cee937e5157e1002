package hooks

import (
	"context"

	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/stats"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// GRPCMetrics takes what gRPC counts itself, under locks of gRPC: it must not block.
type GRPCMetrics interface {
	Count(d *estats.MetricDescriptor, incr int64, labels []string)
}

// Handler is what gRPC reports connections, RPCs and its own metrics to.
type Handler struct {
	estats.UnimplementedMetricsRecorder
	attachment *record.Attachment
	observer   *record.Observer
	metrics    GRPCMetrics
}

var (
	_ stats.Handler          = (*Handler)(nil)
	_ estats.MetricsRecorder = (*Handler)(nil)
)

// NewHandler returns a handler of an observer. One that is given to one channel alone finds the channel of an RPC
// that no picker has seen.
func NewHandler(o *record.Observer, metrics GRPCMetrics) *Handler {
	return &Handler{attachment: o.Attach(), observer: o, metrics: metrics}
}

// connKey is the key of a connection's transport in its context.
type connKey struct{ observer *record.Observer }

// TagConn implements [stats.Handler].
func (h *Handler) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	if h.attachment.Spare() {
		return ctx
	}
	return guard.Value(h.observer.Guard(), ctx, func() context.Context {
		return context.WithValue(ctx, connKey{h.observer}, h.observer.NewTransport(info.LocalAddr))
	})
}

// HandleConn implements [stats.Handler].
func (h *Handler) HandleConn(ctx context.Context, s stats.ConnStats) {
	if !s.IsClient() || h.attachment.Spare() {
		return
	}
	h.observer.Guard().Run(func() {
		t, ok := ctx.Value(connKey{h.observer}).(*record.Transport)
		if !ok {
			return
		}
		switch s.(type) {
		case *stats.ConnBegin:
			h.observer.Begin(t)
		case *stats.ConnEnd:
			t.End()
		}
	})
}

// TagRPC implements [stats.Handler].
func (h *Handler) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if h.attachment.Spare() {
		return ctx
	}
	return guard.Value(h.observer.Guard(), ctx, func() context.Context {
		return h.attachment.TagRPC(ctx, info.FullMethodName, info.FailFast, info.NameResolutionDelay)
	})
}

// HandleRPC implements [stats.Handler].
func (h *Handler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if h.attachment.Spare() {
		return
	}
	switch s := s.(type) {
	case *stats.Begin:
		if h.observer.Following() {
			h.observer.Guard().Run(func() { h.observer.RPCBegan(ctx) })
		}
	case *stats.DelayedPickComplete:
		if h.observer.PicksPending() {
			h.observer.Guard().Run(func() { h.observer.Picked(ctx) })
		}
	case *stats.OutHeader:
		if h.observer.Following() {
			h.observer.Guard().Run(func() { h.observer.Sent(ctx) })
		}
	case *stats.InTrailer:
		if s.Client && h.observer.TransportsLeaving() {
			h.observer.Guard().Run(func() { h.observer.RPCAnswered(ctx) })
		}
	case *stats.End:
		if s.Client && (s.Error != nil || h.observer.Following() || h.observer.TransportsLeaving()) {
			h.observer.Guard().Run(func() { h.observer.RPCEnded(ctx, s.BeginTime, s.Trailer, s.Error) })
		}
	}
}

// RecordInt64Count implements [estats.MetricsRecorder].
func (h *Handler) RecordInt64Count(metric *estats.Int64CountHandle, incr int64, labels ...string) {
	h.observer.Guard().Run(func() {
		if h.attachment.Discovered(metric, labels) || h.attachment.Spare() {
			return
		}
		d := metric.Descriptor()
		if why, lost, known := grpcinternals.DisconnectError(d, labels); lost {
			h.observer.Lost(why, known)
		}
		h.metrics.Count(d, incr, labels)
	})
}

// RecordInt64UpDownCount implements [estats.MetricsRecorder].
func (h *Handler) RecordInt64UpDownCount(metric *estats.Int64UpDownCountHandle, incr int64, labels ...string) {
	if h.attachment.Spare() {
		return
	}
	h.observer.Guard().Run(func() { h.metrics.Count(metric.Descriptor(), incr, labels) })
}
