// Package failure names what went wrong: it turns an error into one of the few values of error.type, and the traces
// of a lost transport into its cause.
package failure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// The values of error.type: a closed set, since they label metrics.
const (
	ConnectionRefused     = "connection_refused"
	Timeout               = "timeout"
	HostUnreachable       = "host_unreachable"
	NetworkUnreachable    = "network_unreachable"
	ConnectionReset       = "connection_reset"
	ClosedByPeer          = "closed_by_peer"
	NameResolution        = "name_resolution"
	Proxy                 = "proxy"
	TLSCertificateExpired = "tls_certificate_expired"
	TLSUnknownAuthority   = "tls_unknown_authority"
	TLSHostnameMismatch   = "tls_hostname_mismatch"
	TLSAlert              = "tls_alert"
	NotTLS                = "not_tls"
	NotHTTP2              = "not_http2"
	Cancelled             = "cancelled"
	Other                 = "_OTHER"
)

// Types lists the values of error.type.
var Types = []string{
	ConnectionRefused, Timeout, HostUnreachable, NetworkUnreachable, ConnectionReset, ClosedByPeer, NameResolution,
	Proxy, TLSCertificateExpired, TLSUnknownAuthority, TLSHostnameMismatch, TLSAlert, NotTLS, NotHTTP2, Cancelled, Other,
}

// Type returns the value of error.type for an error of a dial, handshake or settings exchange, or "" for nil.
func Type(err error) string {
	if err == nil {
		return ""
	}
	for _, classify := range []func(error) string{fromTLS, fromSyscall, fromNet, fromText} {
		if t := classify(err); t != "" {
			return t
		}
	}
	return Other
}

func fromTLS(err error) string {
	var (
		invalid  x509.CertificateInvalidError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		record   tls.RecordHeaderError
		op       *net.OpError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return TLSCertificateExpired
	case errors.As(err, &unknown):
		return TLSUnknownAuthority
	case errors.As(err, &hostname):
		return TLSHostnameMismatch
	case errors.As(err, &record):
		return NotTLS
	case errors.As(err, &op) && op.Op == "remote error":
		return TLSAlert // crypto/tls reports the peer's alerts so.
	}
	return ""
}

func fromSyscall(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return ConnectionRefused
	case syscall.EHOSTUNREACH:
		return HostUnreachable
	case syscall.ENETUNREACH:
		return NetworkUnreachable
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return ConnectionReset
	case syscall.ETIMEDOUT:
		return Timeout
	}
	return ""
}

func fromNet(err error) string {
	var (
		dns     *net.DNSError
		timeout net.Error
	)
	switch {
	case errors.As(err, &dns):
		return NameResolution
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Timeout
	case errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ClosedByPeer
	}
	return ""
}

// phrases are what grpc-go, golang.org/x/net and Windows put into errors that carry no type. The first that
// matches wins.
var phrases = []struct{ text, class string }{
	{"failed to do connect handshake", Proxy},
	{"looked like an HTTP/1.1 header", NotHTTP2},
	{"is not a settings frame", NotHTTP2},
	{"missing selected ALPN property", NotHTTP2},
	{"http2: frame too large", NotHTTP2},
	{"operation was canceled", Cancelled},
	{"context canceled", Cancelled},
	{"deadline exceeded", Timeout},
	{"within timeout", Timeout},
	{"i/o timeout", Timeout},
	{"use of closed network connection", Timeout}, // gRPC closes it when the attempt's deadline has passed.
	{"connection refused", ConnectionRefused},
	{"actively refused", ConnectionRefused},
	{"connection reset", ConnectionReset},
	{"forcibly closed", ConnectionReset},
	{"no such host", NameResolution},
	{"name resolver", NameResolution},
	{"produced zero addresses", NameResolution},
	{"EOF", ClosedByPeer},
}

func fromText(err error) string {
	text := err.Error()
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return p.class
		}
	}
	return ""
}

// cancelled is the error of something that was given up from this side.
type cancelled string

// NewCancelled returns an error whose type is cancelled.
func NewCancelled(why string) error { return cancelled(why) }

func (c cancelled) Error() string { return string(c) }

func (c cancelled) Is(target error) bool { return target == context.Canceled }
