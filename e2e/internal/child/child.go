// Package child runs an echo server in a process of its own, so that what is measured of this one is the client's.
package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"

	"google.golang.org/grpc"

	"github.com/redial-dev/redial/deploy/demo/echo"
)

const env = "REDIAL_CHILD"

// Is reports whether this process is the child, and so should [Serve].
func Is() bool { return os.Getenv(env) != "" }

// service answers at once.
type service struct{ echo.UnimplementedEchoServer }

func (service) Say(_ context.Context, req *echo.SayRequest) (*echo.SayResponse, error) {
	return &echo.SayResponse{Text: req.GetText()}, nil
}

// chat is a service that sends each message of a stream back, without any code generated for it.
var chat = grpc.ServiceDesc{
	ServiceName: "redial.e2e.Chat", HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{StreamName: "Chat", ClientStreams: true, ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		var message echo.SayRequest
		for {
			if err := s.RecvMsg(&message); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if err := s.SendMsg(&message); err != nil {
				return err
			}
		}
	}}},
}

// Chat opens a stream of echo.SayRequest, each of which the server sends back.
func Chat(ctx context.Context, cc *grpc.ClientConn, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return cc.NewStream(ctx, &chat.Streams[0], "/"+chat.ServiceName+"/"+chat.Streams[0].StreamName, opts...)
}

// Serve is the child's main function: it serves until its parent ends.
func Serve(wrap func(net.Listener) net.Listener) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	echo.RegisterEchoServer(srv, service{})
	srv.RegisterService(&chat, nil)
	fmt.Println(lis.Addr())
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // Ends with the parent.
		srv.Stop()
	}()
	return srv.Serve(wrap(lis))
}

// Start starts this program again as a child, and returns the address on which it serves and a function that stops it.
func Start() (address string, stop func() error, err error) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), env+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("start the server: %w", err)
	}
	if _, err := fmt.Fscanln(stdout, &address); err != nil {
		return "", nil, fmt.Errorf("read the server's address: %w", err)
	}
	return address, func() error {
		if err := stdin.Close(); err != nil {
			return err
		}
		return cmd.Wait()
	}, nil
}
