package echo

import (
	"context"
	"time"

	"google.golang.org/grpc/peer"
)

// Server answers as long after the call as it asks for, and names the connection by which the call came.
type Server struct{ UnimplementedEchoServer }

// Say implements [EchoServer].
func (Server) Say(ctx context.Context, req *SayRequest) (*SayResponse, error) {
	delay := time.NewTimer(time.Duration(req.GetDelayMs()) * time.Millisecond)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	resp := &SayResponse{Text: req.GetText()}
	if p, ok := peer.FromContext(ctx); ok {
		resp.Client = p.Addr.String()
	}
	return resp, nil
}
