package record

import (
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/event"
	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
	"github.com/redial-dev/redial/instrument/internal/lifecycle"
)

// describeConn returns the ends of a connection, which may be nil.
func describeConn(conn net.Conn) (c event.Conn) {
	if conn == nil {
		return c
	}
	if local := conn.LocalAddr(); local != nil {
		c.Network, c.Local = local.Network(), local.String()
	}
	if remote := conn.RemoteAddr(); remote != nil {
		c.Remote = remote.String()
	}
	return c
}

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
