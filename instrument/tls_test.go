package instrument_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// authority signs server certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// server returns credentials with a certificate for a name until a time.
func (a *authority) server(name string, until time.Time) grpc.ServerOption {
	cert, key := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return grpc.Creds(credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}))
}

// client returns credentials that trust this authority, for a server of a name.
func (a *authority) client(name string) credentials.TransportCredentials {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS13})
}

func TestTLS(t *testing.T) {
	a := newAuthority(t)
	later := time.Now().Add(time.Hour)
	t.Run("Good", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1", a.server("server.test", later))
		cc := env.dial(srv.address, grpc.WithTransportCredentials(a.client("server.test")))
		env.connect(cc)
		mustCall(t, cc)
		env.golden()
	})
	t.Run("UnknownAuthority", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1", a.server("server.test", later))
		env.failOnce(srv.address, grpc.WithTransportCredentials(newAuthority(t).client("server.test")))
	})
	t.Run("Expired", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1", a.server("server.test", time.Now().Add(-time.Hour)))
		env.failOnce(srv.address, grpc.WithTransportCredentials(a.client("server.test")))
	})
	t.Run("WrongName", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1", a.server("other.test", later))
		env.failOnce(srv.address, grpc.WithTransportCredentials(a.client("server.test")))
	})
	t.Run("PlainServer", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		env.failOnce(srv.address, grpc.WithTransportCredentials(a.client("server.test")))
	})
	// A TLS server answers a plain client with an alert; this one reads the whole preface first, so that it closes with
	// FIN and not with RST.
	t.Run("PlainClient", func(t *testing.T) {
		env := newEnvironment(t)
		env.failOnce(env.raw("S1", func(c net.Conn) {
			if _, err := c.Write([]byte{21, 3, 1, 0, 2, 2, 70}); err != nil {
				t.Error(err)
			}
			if err := drainAndClose(c); err != nil {
				t.Error(err)
			}
		}))
	})
}

// bundle has transport credentials and per-RPC ones.
type bundle struct {
	transport credentials.TransportCredentials
	perRPC    credentials.PerRPCCredentials
}

func (b bundle) TransportCredentials() credentials.TransportCredentials { return b.transport }
func (b bundle) PerRPCCredentials() credentials.PerRPCCredentials       { return b.perRPC }
func (b bundle) NewWithMode(string) (credentials.Bundle, error)         { return b, nil }

// token is a per-RPC credential.
type token string

func (k token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"token": string(k)}, nil
}
func (token) RequireTransportSecurity() bool { return true }

// tokens is an interceptor that notes the tokens of the RPCs.
func tokens(seen chan<- []string) grpc.ServerOption {
	return grpc.UnaryInterceptor(func(
		ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler,
	) (any, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md.Get("token")
		return next(ctx, req)
	})
}

func TestCredentials(t *testing.T) {
	a := newAuthority(t)
	good := func(name string) grpc.ServerOption { return a.server(name, time.Now().Add(time.Hour)) }
	t.Run("Bundle", func(t *testing.T) {
		env := newEnvironment(t)
		seen := make(chan []string, 1)
		srv := env.serve("S1", good("server.test"), tokens(seen))
		cc := env.dialWith(srv.address, env.handler.DialOption(),
			grpc.WithAuthority("server.test"), grpc.WithCredentialsBundle(bundle{a.client("server.test"), token("bundled")}))
		env.connect(cc)
		mustCall(t, cc)
		wantTokens(t, <-seen, "bundled")
		env.golden()
	})
	t.Run("PerRPC", func(t *testing.T) {
		env := newEnvironment(t)
		seen := make(chan []string, 1)
		srv := env.serve("S1", good("server.test"), tokens(seen))
		cc := env.dial(srv.address,
			grpc.WithTransportCredentials(a.client("server.test")), grpc.WithPerRPCCredentials(token("channel's")))
		env.connect(cc)
		mustCall(t, cc)
		wantTokens(t, <-seen, "channel's")
		env.golden()
	})
	t.Run("PerCall", func(t *testing.T) {
		env := newEnvironment(t)
		seen := make(chan []string, 1)
		srv := env.serve("S1", good("server.test"), tokens(seen))
		cc := env.dial(srv.address, grpc.WithTransportCredentials(a.client("server.test")))
		env.connect(cc)
		mustCall(t, cc, grpc.PerRPCCredentials(token("call's")))
		wantTokens(t, <-seen, "call's")
		env.golden()
	})
	t.Run("InsecureRefusesTokens", func(t *testing.T) {
		env := newEnvironment(t)
		srv := env.serve("S1")
		cc := env.dial(srv.address)
		env.connect(cc)
		if err := call(cc, grpc.PerRPCCredentials(token("call's"))); err == nil {
			t.Error("a token was sent over an insecure connection")
		}
		env.golden()
	})
}

func wantTokens(t *testing.T, have []string, want string) {
	t.Helper()
	if len(have) != 1 || have[0] != want {
		t.Errorf("the server saw the tokens %q, want %q", have, want)
	}
}

// A handshake that hangs fails at the attempt's deadline, in the handshake phase.
func TestHandshakeHangs(t *testing.T) {
	a := newAuthority(t)
	env := newEnvironment(t)
	env.failOnce(env.raw("S1", func(net.Conn) {}), shortDeadline, grpc.WithTransportCredentials(a.client("server.test")))
}
