package lastread_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"github.com/redial-dev/redial/instrument/internal/failure"
	"github.com/redial-dev/redial/instrument/internal/hooks/lastread"
	"github.com/redial-dev/redial/internal/selfsigned"
)

const testTimeout = 10 * time.Second

// connect returns the two ends of a connection.
func connect(t *testing.T, network, address string) (client, server net.Conn) {
	t.Helper()
	lis, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if client, err = net.Dial(network, lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = lis.Accept(); err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close() // The tests close some of them.
		_ = server.Close()
	})
	for _, c := range []net.Conn{client, server} {
		if err := c.SetDeadline(time.Now().Add(testTimeout)); err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func overTCP(t *testing.T) (client, server *net.TCPConn) {
	c, s := connect(t, "tcp", "127.0.0.1:0")
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// readUntilError reads as gRPC does, and returns the error.
func readUntilError(t *testing.T, c net.Conn) error {
	t.Helper()
	for {
		if _, err := c.Read(make([]byte, 1<<10)); err != nil {
			return err
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// awaitWriteError writes until the connection fails, and returns the error. The write takes the socket's error away.
func awaitWriteError(t *testing.T, c net.Conn) error {
	t.Helper()
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
	}
}

func check(t *testing.T, secured, raw net.Conn, want failure.LastRead) {
	t.Helper()
	have, known := lastread.Of(secured, raw)
	if have != want || !known {
		t.Errorf("gRPC read %d last (known: %t), want %d", have, known, want)
	}
}

func TestFIN(t *testing.T) {
	client, server := overTCP(t)
	must(t, server.CloseWrite())
	if err := readUntilError(t, client); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, client, client, failure.ReadEOF)
}

// A write after the FIN brings a RST: the socket is in CLOSE then, as if it had been reset from the start.
func TestFINThenRST(t *testing.T) {
	client, server := overTCP(t)
	must(t, server.Close())
	if err := readUntilError(t, client); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := awaitWriteError(t, client); !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	check(t, client, client, failure.ReadEOF)
}

// A write meets the RST first, so that reading finds no more than EOF.
func TestRSTThatAWriteMet(t *testing.T) {
	client, server := overTCP(t)
	must(t, server.SetLinger(0), server.Close())
	if err := awaitWriteError(t, client); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Fatal(err)
	}
	if err := readUntilError(t, client); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, client, client, failure.ReadReset)
}

// What gRPC does not accept ends its reading; a FIN that comes later is not what it read.
func TestGarbageThenFIN(t *testing.T) {
	client, server := overTCP(t)
	_, err := server.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	must(t, err)
	_, err = client.Read(make([]byte, 1<<10))
	must(t, err)
	check(t, client, client, failure.ReadRejected)
	must(t, server.CloseWrite())
	awaitReadable(t, client)
	check(t, client, client, failure.ReadRejected)
}

// The same where the peer resets the connection later.
func TestGarbageThenRST(t *testing.T) {
	client, server := overTCP(t)
	_, err := server.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	must(t, err)
	_, err = client.Read(make([]byte, 1<<10))
	must(t, err, server.SetLinger(0), server.Close())
	awaitReset(t, client)
	check(t, client, client, failure.ReadRejected)
}

// awaitReadable waits until the connection has something to read, without reading it.
func awaitReadable(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return !errors.Is(err, syscall.EAGAIN)
	})
	must(t, err)
}

func TestUnixSocket(t *testing.T) {
	client, server := connect(t, "unix", filepath.Join(t.TempDir(), "test.sock"))
	_, err := server.Write([]byte("garbage"))
	must(t, err)
	_, err = client.Read(make([]byte, 1<<10))
	must(t, err)
	check(t, client, client, failure.ReadRejected)
	must(t, server.Close())
	if err := readUntilError(t, client); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, client, client, failure.ReadEOF)
}

// hidden is a connection that hides its socket.
type hidden struct{ net.Conn }

// known is a connection of a user's own that shows its socket. It may end reading for reasons of its own.
type known struct{ *net.TCPConn }

func TestNothingIsKnown(t *testing.T) {
	client, server := overTCP(t)
	check(t, nil, nil, failure.ReadUnknown)
	check(t, known{client}, known{client}, failure.ReadUnknown)
	must(t, server.CloseWrite())
	if err := readUntilError(t, client); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, hidden{client}, hidden{client}, failure.ReadUnknown)
	check(t, known{client}, known{client}, failure.ReadEOF)
	must(t, client.Close())
	check(t, client, client, failure.ReadUnknown)
}

// secured returns a connection as gRPC's TLS credentials return it.
func secured(t *testing.T) (conn net.Conn, raw *net.TCPConn, server *tls.Conn, rawServer *net.TCPConn) {
	t.Helper()
	cert, pool := selfsigned.Certificate(t, "service.test")
	raw, rawServer = overTCP(t)
	server = tls.Server(rawServer, &tls.Config{
		Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"},
	})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	creds := credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "service.test"})
	conn, _, err := creds.ClientHandshake(t.Context(), "service.test", raw)
	must(t, err, <-done)
	return conn, raw, server, rawServer
}

// crypto/tls returns EOF at close_notify, when the socket is still ESTABLISHED.
func TestCloseNotify(t *testing.T) {
	conn, raw, server, _ := secured(t)
	must(t, server.CloseWrite())
	if err := readUntilError(t, conn); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	check(t, conn, raw, failure.ReadEOF)
}

// A server says close_notify, and its kernel resets the connection then, since it has data that the server did not
// read.
func TestCloseNotifyThenRST(t *testing.T) {
	conn, raw, server, rawServer := secured(t)
	_, err := conn.Write([]byte("unread"))
	must(t, err, server.CloseWrite())
	awaitReadable(t, rawServer)
	must(t, rawServer.Close())
	if err := readUntilError(t, conn); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	awaitReset(t, raw)
	check(t, conn, raw, failure.ReadEOF)
}

// Under TLS as without: a write meets the RST first, so that reading finds no more than EOF.
func TestRSTThatAWriteOfTLSMet(t *testing.T) {
	conn, raw, _, rawServer := secured(t)
	must(t, rawServer.SetLinger(0), rawServer.Close())
	if err := awaitWriteError(t, conn); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Fatal(err)
	}
	if err := readUntilError(t, conn); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	check(t, conn, raw, failure.ReadUnknown)
}

// awaitReset waits until the kernel has seen the peer's RST.
func awaitReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	for state := uint8(0); state != unix.BPF_TCP_CLOSE; {
		must(t, raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				t.Fatal(err)
			}
			state = info.State
		}))
	}
}

func TestFINWithoutCloseNotify(t *testing.T) {
	conn, raw, _, rawServer := secured(t)
	must(t, rawServer.CloseWrite())
	if err := readUntilError(t, conn); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	check(t, conn, raw, failure.ReadEOF)
}

func TestTLSRecordBroken(t *testing.T) {
	conn, raw, _, rawServer := secured(t)
	_, err := rawServer.Write(append([]byte{23, 3, 3, 0, 32}, bytes.Repeat([]byte{0}, 32)...))
	must(t, err)
	if err := readUntilError(t, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	check(t, conn, raw, failure.ReadRejected)
}

// TLS delivered what the peer sent, and HTTP/2 did not accept it.
func TestGarbageWithinTLS(t *testing.T) {
	conn, raw, server, _ := secured(t)
	_, err := server.Write([]byte("garbage"))
	must(t, err)
	_, err = conn.Read(make([]byte, 1<<10))
	must(t, err)
	check(t, conn, raw, failure.ReadRejected)
}
