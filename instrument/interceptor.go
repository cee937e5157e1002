package instrument

import (
	"context"

	"google.golang.org/grpc"

	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/record"
)

// UnaryInterceptor returns an interceptor for grpc.WithChainUnaryInterceptor, beside the handler's
// [Handler.DialOption]. It is for one thing: gRPC reports an RPC to a stats.Handler when its channel's name is
// resolved, and never one that dies of its deadline or is cancelled before. With the interceptor such RPCs count, as
// waits for name_resolution and in redial.pick.unavailable_rpcs, and are noted on the span of the RPC's context. It
// costs each RPC two allocations.
func (h *Handler) UnaryInterceptor() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn,
		invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		started := h.starting(ctx)
		err := invoke(started.ctx, method, req, reply, cc, opts...)
		h.ended(started, cc, method, err)
		return err
	}
}

// StreamInterceptor is [Handler.UnaryInterceptor] for streams.
func (h *Handler) StreamInterceptor() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		started := h.starting(ctx)
		stream, err := streamer(started.ctx, desc, cc, method, opts...)
		h.ended(started, cc, method, err)
		return stream, err
	}
}

// startedRPC is an RPC that an interceptor saw.
type startedRPC struct {
	ctx   context.Context
	start *record.Start // Nil where redial was shut down.
}

func (h *Handler) starting(ctx context.Context) startedRPC {
	return guard.Value(h.observer.Guard(), startedRPC{ctx: ctx}, func() startedRPC {
		ctx, start := h.observer.RPCStarting(ctx)
		return startedRPC{ctx, start}
	})
}

func (h *Handler) ended(started startedRPC, cc *grpc.ClientConn, method string, err error) {
	if err != nil && started.start != nil {
		h.observer.Guard().Run(func() { started.start.Ended(started.ctx, cc, method, err) })
	}
}
