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
	"time"

	"github.com/redial-dev/redial/instrument/event"
)

// Type returns the error.type of an error of a dial, handshake, settings exchange or pick, or "" for nil. It goes by
// the types of the errors, and by gRPC's text only where gRPC wraps none.
func Type(err error) string {
	if err == nil {
		return ""
	}
	for _, classify := range []func(error) string{fromResolver, fromTLS, fromAddress, fromErrno, fromNet, fromText} {
		if t := classify(err); t != "" {
			return t
		}
	}
	return Other
}

// PickType returns the error.type of an RPC that got no transport, where no failure of an endpoint explains it. What it
// ended with is the picker's word then, unless its time ran out.
func PickType(err error) string {
	if t := Type(err); t != Other {
		return t
	}
	return LBPolicy
}

// ErrNoAddresses is the failure of a resolution whose answer has no addresses, in gRPC's words.
var ErrNoAddresses = errors.New("produced zero addresses")

// OfProxy returns the error.type of a failure to reach a server through an HTTP CONNECT proxy. Whatever the proxy did,
// or that nobody is there, is the proxy's failure; what this host lacks or forbids, or gave up, is not.
func OfProxy(errorType string) string {
	switch errorType {
	case "", Cancelled, ResourceExhausted, PermissionDenied, AddressNotAvailable, AddressFamilyNotSupported:
		return errorType
	}
	return Proxy
}

// attemptPhrases are the words by which gRPC says that an attempt failed before its last phase.
var attemptPhrases = []struct {
	text  string
	phase event.Phase
}{
	{"rror while dialing", event.PhaseDial},
	{"failed to set TCP_USER_TIMEOUT", event.PhaseDial},
	{"authentication handshake failed", event.PhaseHandshake},
	{"secure credentials on an insecure connection", event.PhaseHandshake},
}

// Phase returns the phase in which an attempt failed, by the error that gRPC reports.
func Phase(err error) event.Phase {
	for _, of := range attemptPhrases {
		if err != nil && strings.Contains(err.Error(), of.text) {
			return of.phase
		}
	}
	return event.PhaseSettings
}

// ResolutionType returns the error.type of a name resolver's error, or "" for nil. Whatever befell the resolver on its
// way to a name server is no failure of a backend.
func ResolutionType(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return Cancelled
	case isTimeout(err), timeoutText(err.Error()):
		return Timeout
	}
	return NameResolution
}

// resolverPhrases are the words by which gRPC marks a resolver's failure in the error that a policy's picker returns.
var resolverPhrases = []string{"name resolver error", "record lookup error", "produced zero addresses"}

func fromResolver(err error) string {
	text := err.Error()
	for _, phrase := range resolverPhrases {
		if strings.Contains(text, phrase) {
			return ResolutionType(err)
		}
	}
	return ""
}

func fromTLS(err error) string {
	var (
		invalid  x509.CertificateInvalidError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		verdict  *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		op       *net.OpError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if strings.Contains(invalid.Detail, " is before ") { // The reason is the same for both.
			return TLSCertificateNotYetValid
		}
		return TLSCertificateExpired
	case errors.As(err, &unknown):
		return TLSUnknownAuthority
	case errors.As(err, &hostname):
		return TLSHostnameMismatch
	case errors.As(err, &verdict), errors.As(err, &invalid):
		return TLSCertificateInvalid
	case errors.As(err, &record):
		return NotTLS
	case errors.As(err, &op) && op.Op == "remote error":
		return TLSAlert // crypto/tls reports the peer's alerts so.
	}
	return ""
}

// fromAddress classifies what failed before a socket was opened, or in a SOCKS proxy of golang.org/x/net/proxy.
func fromAddress(err error) string {
	var (
		op        *net.OpError
		address   *net.AddrError
		malformed *net.ParseError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &op) && op.Op == "socks":
		return Proxy
	case errors.As(err, &address), errors.As(err, &malformed):
		return InvalidAddress
	case errors.As(err, &dns) && dns.Err == "unknown port":
		return InvalidAddress
	case errors.As(err, &dns):
		return NameResolution
	}
	return ""
}

func fromNet(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case isTimeout(err):
		return Timeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ClosedByPeer
	}
	return ""
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// closedConn is in the errors of a connection that this process closed.
const closedConn = "use of closed network connection"

// ClosedEarly reports whether a connection was closed by this process before gRPC does that: by the dialer, or whatever
// else has it.
func ClosedEarly(err error, at, deadline time.Time) bool {
	return err != nil && at.Before(deadline) && strings.Contains(err.Error(), closedConn)
}

// phrases are what grpc-go, golang.org/x/net and Windows put into errors that carry no type. The first that matches
// wins: what an error quotes of another comes after the quoter's own words.
var phrases = []struct{ text, errorType string }{
	{"connection active but health check failed", HealthCheckFailed},
	{"connection active but received health check RPC error", HealthCheckFailed},
	{"health check failure: <nil>", OutlierEjected}, // A check that failed has an error, an ejection none.
	{"failed to do connect handshake", Proxy},
	{"reading server HTTP response", Proxy},
	{"failed to write the HTTP request", Proxy},
	{"looked like an HTTP/1.1 header", NotHTTP2},
	{"is not a settings frame: *http2.GoAwayFrame", ClosedByPeer},
	{"is not a settings frame", NotHTTP2},
	{"missing selected ALPN property", NotHTTP2},
	{"http2: frame too large", NotHTTP2},
	{"operation was canceled", Cancelled},
	{"context canceled", Cancelled},
	{"deadline exceeded", Timeout},
	{"within timeout", Timeout},
	{"i/o timeout", Timeout},
	{closedConn, Timeout}, // gRPC closes it when the attempt's deadline has passed.
	{"actively refused", ConnectionRefused},
	{"forcibly closed", ConnectionReset},
	{"missing port in address", InvalidAddress},
	{"no such host", NameResolution},
}

// errnoType is the type of one of the kernel's errors.
type errnoType struct {
	errno     error
	errorType string
}

func fromText(err error) string {
	text := err.Error()
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return p.errorType
		}
	}
	for _, of := range errnoTypes {
		if strings.Contains(text, ": "+of.errno.Error()) { // Package net puts the call before it.
			return of.errorType
		}
	}
	if strings.Contains(text, "EOF") {
		return ClosedByPeer
	}
	return ""
}

// timeoutText reports whether an error's text says that time ran out.
func timeoutText(text string) bool {
	for _, p := range phrases {
		if p.errorType == Timeout && strings.Contains(text, p.text) {
			return true
		}
	}
	return false
}

// cancelled is the error of something that this side gave up.
type cancelled string

// NewCancelled returns an error whose type is cancelled.
func NewCancelled(why string) error { return cancelled(why) }

func (c cancelled) Error() string { return string(c) }

func (c cancelled) Is(target error) bool { return target == context.Canceled }
