package failure_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redial-dev/redial/instrument/internal/failure"
)

// connecting is the error of connect(2), as package net returns it.
func connecting(network string, errno syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", errno)}
}

// connectingTo is what connect(2) returns where the address, or the route to it, is not valid.
func connectingTo(ip string) error {
	return &net.OpError{
		Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1},
		Err: os.NewSyscallError("connect", syscall.EINVAL),
	}
}

// unverified is crypto/tls' error for a server's certificate that has this fault.
func unverified(verdict error) error { return &tls.CertificateVerificationError{Err: verdict} }

// outdated is x509's verdict on a certificate that is not valid now.
func outdated(detail string) error {
	return x509.CertificateInvalidError{Reason: x509.Expired, Detail: detail}
}

func TestTypeOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("the dialer has its own troubles"), failure.Other},
		{failure.NewCancelled("channel closed"), failure.Cancelled},

		{connecting("tcp", syscall.ECONNREFUSED), failure.ConnectionRefused},
		{connecting("unix", syscall.ECONNREFUSED), failure.ConnectionRefused},
		{connecting("tcp", syscall.ETIMEDOUT), failure.Timeout},
		{connecting("tcp", syscall.EHOSTUNREACH), failure.HostUnreachable},
		{connecting("tcp", syscall.EHOSTDOWN), failure.HostUnreachable},
		{connecting("tcp", syscall.ENETUNREACH), failure.NetworkUnreachable},
		{connecting("tcp", syscall.ENETDOWN), failure.NetworkUnreachable},
		{connecting("unix", syscall.ENOENT), failure.NoSuchFile},
		{connecting("unix", syscall.ENOTDIR), failure.NoSuchFile},
		{connecting("unix", syscall.EACCES), failure.PermissionDenied},
		{connecting("tcp", syscall.EPERM), failure.PermissionDenied},
		{connecting("tcp", syscall.EADDRNOTAVAIL), failure.AddressNotAvailable},
		{connecting("tcp", syscall.EADDRINUSE), failure.AddressNotAvailable},
		{connecting("tcp", syscall.EAFNOSUPPORT), failure.AddressFamilyNotSupported},
		{connecting("tcp", syscall.EMFILE), failure.ResourceExhausted},
		{connecting("tcp", syscall.ENFILE), failure.ResourceExhausted},
		{connecting("tcp", syscall.ENOBUFS), failure.ResourceExhausted},
		{connecting("tcp", syscall.ENOMEM), failure.ResourceExhausted},
		{connecting("unix", syscall.EAGAIN), failure.BacklogFull},
		{connecting("tcp", syscall.EAGAIN), failure.ResourceExhausted},
		{connecting("unix", syscall.EINVAL), failure.InvalidAddress},
		{connectingTo("fe80::1"), failure.InvalidAddress},
		{connectingTo("203.0.113.1"), failure.NetworkUnreachable}, // A blackhole route was an invalid address.
		{os.NewSyscallError("setsockopt", syscall.EINVAL), failure.Other},
		{os.NewSyscallError("write", syscall.EPIPE), failure.ConnectionReset},
		{os.NewSyscallError("read", syscall.ECONNRESET), failure.ConnectionReset},

		{io.EOF, failure.ClosedByPeer},
		{fmt.Errorf("read: %w", io.ErrUnexpectedEOF), failure.ClosedByPeer},
		{context.DeadlineExceeded, failure.Timeout},
		{os.ErrDeadlineExceeded, failure.Timeout},
		{context.Canceled, failure.Cancelled},
		{&net.AddrError{Err: "missing port in address", Addr: "127.0.0.1"}, failure.InvalidAddress},
		{&net.DNSError{Err: "unknown port", Name: "tcp/grcp"}, failure.InvalidAddress},
		{&net.DNSError{Err: "no such host", Name: "service.test"}, failure.NameResolution},
		{&net.DNSError{Err: "i/o timeout", Name: "service.test", IsTimeout: true}, failure.NameResolution},

		{unverified(outdated("current time 2026-02-01 is after 2026-01-01")), failure.TLSCertificateExpired},
		{unverified(outdated("current time 2026-01-01 is before 2026-02-01")), failure.TLSCertificateNotYetValid},
		{unverified(x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}), failure.TLSCertificateInvalid},
		{unverified(x509.UnhandledCriticalExtension{}), failure.TLSCertificateInvalid},
		{unverified(x509.InsecureAlgorithmError(x509.SHA1WithRSA)), failure.TLSCertificateInvalid},
		{unverified(x509.UnknownAuthorityError{}), failure.TLSUnknownAuthority},
		{unverified(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "service.test"}), failure.TLSHostnameMismatch},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, failure.TLSAlert},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, failure.NotTLS},

		{&net.OpError{Op: "socks", Net: "tcp", Err: connecting("tcp", syscall.ECONNREFUSED)}, failure.Proxy},
		{errors.New(`failed to do connect handshake, response: "HTTP/1.1 407 Authentication Required"`), failure.Proxy},
		{errors.New(`reading server HTTP response: malformed HTTP response "\x15\x03\x01"`), failure.Proxy},
		{errors.New("reading server HTTP response: unexpected EOF"), failure.Proxy},
		{errors.New("reading server HTTP response: read: connection reset by peer"), failure.Proxy},
		{errors.New("failed to write the HTTP request: write: broken pipe"), failure.Proxy},

		// A failing resolver, as the pickers of policies report it.
		{errors.New("name resolver error: produced zero addresses"), failure.NameResolution},
		{errors.New("dns: A record lookup error: lookup service.test: read: connection refused"), failure.NameResolution},
		{errors.New("dns: A record lookup error: lookup service.test: i/o timeout"), failure.Timeout},

		// Text of errors that some wrapper stripped of their types.
		{errors.New("dial unix /run/service.sock: connect: no such file or directory"), failure.NoSuchFile},
		{errors.New("dial tcp 10.0.0.1:1: socket: too many open files"), failure.ResourceExhausted},
		{errors.New("dial tcp: address 127.0.0.1: missing port in address"), failure.InvalidAddress},
		{errors.New("connection refused by our own policy"), failure.Other},
	} {
		if have := failure.Type(c.err); have != c.want {
			t.Errorf("%v: the type is %q, want %q", c.err, have, c.want)
		}
		if c.want != "" && !slices.Contains(failure.Types, c.want) {
			t.Errorf("%q is not in the closed set", c.want)
		}
	}
}

// The errors of a resolver were taken for those of the backend: a name server's port that refuses is no
// connection_refused.
func TestTypeOfResolversOwnErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{connecting("udp", syscall.ECONNREFUSED), failure.NameResolution},
		{connecting("tcp", syscall.ENETUNREACH), failure.NameResolution},
		{&fs.PathError{Op: "open", Path: "/etc/endpoints", Err: syscall.ENOENT}, failure.NameResolution},
		{io.EOF, failure.NameResolution},
		{errors.New("consul is down"), failure.NameResolution},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, failure.NameResolution},
		{&net.DNSError{Err: "i/o timeout", IsTimeout: true}, failure.Timeout},
		{errors.New("dns: A record lookup error: lookup service.test on 10.0.0.53:53: i/o timeout"), failure.Timeout},
		{context.DeadlineExceeded, failure.Timeout},
		{context.Canceled, failure.Cancelled},
	} {
		if have := failure.ResolutionType(c.err); have != c.want {
			t.Errorf("%v: the type is %q, want %q", c.err, have, c.want)
		}
	}
}

// What this host's kernel and the standard library really return, and not what a test believes they do.
func TestTypeOfErrorsOfThisHost(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the errors of unix sockets differ")
	}
	dir := t.TempDir()
	dial := func(network, address string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			return errors.Join(c.Close(), errors.New("it connected"))
		}
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no socket file":   {dial("unix", filepath.Join(dir, "none.sock")), failure.NoSuchFile},
		"path too long":    {dial("unix", filepath.Join(dir, strings.Repeat("x", 200))), failure.InvalidAddress},
		"missing port":     {dial("tcp", "127.0.0.1"), failure.InvalidAddress},
		"port by no name":  {dial("tcp", "127.0.0.1:no-such-service"), failure.InvalidAddress},
		"too many colons":  {dial("tcp", "::1:443"), failure.InvalidAddress},
		"port out of room": {dial("tcp", "127.0.0.1:70000"), failure.InvalidAddress},
	} {
		t.Run(name, func(t *testing.T) {
			if have := failure.Type(c.err); have != c.want {
				t.Errorf("%v: the type is %q, want %q", c.err, have, c.want)
			}
		})
	}
}

func TestTypesHasEachValueOnce(t *testing.T) {
	types := slices.Sorted(slices.Values(failure.Types))
	if len(slices.Compact(types)) != len(failure.Types) {
		t.Errorf("a value is listed twice: %q", failure.Types)
	}
}
