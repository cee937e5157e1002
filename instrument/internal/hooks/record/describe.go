package record

import (
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/ask"
	"github.com/redial-dev/redial/instrument/internal/guard"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// describeConn returns the ends of a connection, which may be nil. It must be called without a lock.
func (o *Observer) describeConn(conn net.Conn) (c event.Conn) {
	if conn == nil {
		return c
	}
	c.Network, c.Local = o.describeAddr(conn.LocalAddr())
	_, c.Remote = o.describeAddr(conn.RemoteAddr())
	return c
}

// describeAddr returns the network and the text of an address. They are unknown where the address is not one of package
// net and panics or blocks.
func (o *Observer) describeAddr(a net.Addr) (network, text string) {
	switch a := a.(type) {
	case nil:
		return "", ""
	case *net.TCPAddr, *net.UnixAddr:
		return a.Network(), a.String()
	}
	texts, inTime := ask.For(o.cfg.Asker, func() [2]string {
		return guard.Value(o.addresses, [2]string{}, func() [2]string { return [2]string{a.Network(), a.String()} })
	})
	if !inTime {
		o.cfg.Faults.Report("address", errAddressBlocks)
	}
	return texts[0], texts[1]
}

var errAddressBlocks = errors.New("redial: an address of a connection blocks in Network or String: it is not known")

// describeAddress returns the server that an address leads to, and its proxy if there is one.
func (o *Observer) describeAddress(a resolver.Address) lifecycle.Address {
	server, known := grpcinternals.ProxiedServer(a)
	o.holds(grpcinternals.ProxiedServers, known)
	if server != "" {
		return lifecycle.Address{Server: server, Proxy: a.Addr}
	}
	return lifecycle.Address{Server: a.Addr}
}

// describeTLS returns what a handshake agreed on, or nil if it was not one of TLS.
func describeTLS(info credentials.AuthInfo) *event.TLS {
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	state := tlsInfo.State
	t := &event.TLS{
		Version: tlsVersion(state.Version),
		Cipher:  tls.CipherSuiteName(state.CipherSuite),
		Resumed: state.DidResume,
	}
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		t.ServerSubject, t.ServerNotAfter = leaf.Subject.String(), leaf.NotAfter
	}
	return t
}

// tlsVersion is the version as the semantic conventions write it.
func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return tls.VersionName(v)
}
