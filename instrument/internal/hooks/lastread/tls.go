package lastread

import (
	"crypto/tls"
	"io"
	"net"
	"reflect"
	"strings"
	"sync"
	"time"
)

// tlsEnd is how reading from a connection of crypto/tls ended.
type tlsEnd uint8

const (
	tlsUnknown tlsEnd = iota
	// tlsOpen: crypto/tls met no error, so what it delivered was the fault.
	tlsOpen
	// tlsEOF: a close_notify, or the end of the stream.
	tlsEOF
	// tlsBroken: an alert, or a record that crypto/tls did not accept.
	tlsBroken
)

// errorNames are the fields of a connection in which crypto/tls keeps the error that ended reading for good, and that
// of an error that it wraps. It exports none of them.
//
// Tried on Go 1.26.
var errorNames = struct{ in, err, wrapped string }{"in", "err", "err"}

// tlsKnown reports whether crypto/tls keeps errors where this package looks for them. It tries that once, on
// connections that end in each way.
var tlsKnown = sync.OnceValue(triesWell)

func triesWell() bool {
	for _, trial := range []struct {
		sent string
		want tlsEnd
	}{
		{"", tlsEOF},
		{"\x15\x03\x03\x00\x02\x02\x28", tlsBroken}, // An alert: handshake_failure.
		{"not TLS", tlsBroken},
	} {
		c := tls.Server(&trialConn{strings.NewReader(trial.sent)}, &tls.Config{})
		if endOf(c) != tlsOpen || c.Handshake() == nil || endOf(c) != trial.want {
			return false
		}
	}
	return true
}

// trialConn is a connection whose peer sent a text and closed it.
type trialConn struct{ io.Reader }

func (*trialConn) Write(p []byte) (int, error)      { return len(p), nil }
func (*trialConn) Close() error                     { return nil }
func (*trialConn) LocalAddr() net.Addr              { return nil }
func (*trialConn) RemoteAddr() net.Addr             { return nil }
func (*trialConn) SetDeadline(time.Time) error      { return nil }
func (*trialConn) SetReadDeadline(time.Time) error  { return nil }
func (*trialConn) SetWriteDeadline(time.Time) error { return nil }

// endOf returns how reading from the connection ended. It must be called by the goroutine that read.
func endOf(c *tls.Conn) tlsEnd {
	in := reflect.ValueOf(c).Elem().FieldByName(errorNames.in)
	if in.Kind() != reflect.Struct {
		return tlsUnknown
	}
	err := in.FieldByName(errorNames.err)
	if err.Kind() != reflect.Interface {
		return tlsUnknown
	}
	return endOfError(err)
}

var (
	opError      = reflect.TypeFor[*net.OpError]()
	recordHeader = reflect.TypeFor[tls.RecordHeaderError]()
)

// endOfError reads an error that reflection does not give away.
func endOfError(err reflect.Value) tlsEnd {
	if err.IsNil() {
		return tlsOpen
	}
	err = err.Elem()
	switch {
	case is(err, io.EOF), is(err, io.ErrUnexpectedEOF):
		return tlsEOF
	case err.Type() == recordHeader:
		return tlsBroken
	case err.Type() == opError:
		switch err.Elem().FieldByName("Op").String() {
		case "local error", "remote error":
			return tlsBroken
		}
	case err.Kind() == reflect.Pointer && err.Elem().Kind() == reflect.Struct:
		// It is crypto/tls' permanentError.
		if wrapped := err.Elem().FieldByName(errorNames.wrapped); wrapped.Kind() == reflect.Interface {
			return endOfError(wrapped)
		}
	}
	return tlsUnknown
}

// is reports whether a value is one of the standard library's error variables.
func is(value reflect.Value, err error) bool {
	of := reflect.ValueOf(err)
	return value.Type() == of.Type() && value.Pointer() == of.Pointer()
}
