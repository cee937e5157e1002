package lastread

import (
	"crypto/tls"
	"io"
	"net"
	"reflect"
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

// endOf returns how reading from the connection ended. crypto/tls keeps the error that ended it for good in in.err,
// which it does not export; a version of Go that keeps it elsewhere makes the answer tlsUnknown. It must be called by
// the goroutine that read.
func endOf(c *tls.Conn) tlsEnd {
	in := reflect.ValueOf(c).Elem().FieldByName("in")
	if in.Kind() != reflect.Struct {
		return tlsUnknown
	}
	err := in.FieldByName("err")
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
		if wrapped := err.Elem().FieldByName("err"); wrapped.Kind() == reflect.Interface { // crypto/tls' permanentError.
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
