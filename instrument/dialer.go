package instrument

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/redial-dev/redial/instrument/internal/hooks"
)

// Dialer returns a dialer for grpc.WithContextDialer that also records when each address was tried. It is for detail: a
// channel's dials are observed without it too.
//
// next is called as gRPC would call it, and what it returns goes to gRPC as it is. Where next is nil the dialer does
// what gRPC's own does: TCP with the operating system's keepalive, unix and abstract sockets, and the HTTP CONNECT
// proxy of the environment (HTTPS_PROXY, NO_PROXY). One thing differs with a proxy, since gRPC gives up its own proxy
// support for any dialer: names are resolved here and not by the proxy. To keep that, leave the dialer out.
func (h *Handler) Dialer(
	next func(context.Context, string) (net.Conn, error),
) func(context.Context, string) (net.Conn, error) {
	h.observer.ExpectDials()
	return func(ctx context.Context, address string) (net.Conn, error) {
		record := hooks.StartDial(ctx, h.observer, address)
		dial := next
		if dial == nil {
			dial = plainDialer{record}.dial
		}
		conn, err := dial(ctx, address)
		record.End(conn, err)
		return conn, err
	}
}

// plainDialer does as gRPC's own dialer.
type plainDialer struct{ record hooks.Dial }

func (d plainDialer) dial(ctx context.Context, address string) (net.Conn, error) {
	network, address := parseDialTarget(address)
	if network == "tcp" {
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
		if err != nil {
			return nil, fmt.Errorf("proxy of the environment for %s: %w", address, err)
		}
		if proxy != nil {
			return d.throughProxy(ctx, proxy, address)
		}
	}
	return d.netDialer().DialContext(ctx, network, address)
}

// parseDialTarget reads what gRPC gives to a dialer: "unix:relative", "unix:///absolute", an abstract socket's name
// after a NUL, or a TCP address.
func parseDialTarget(address string) (network, rest string) {
	if strings.HasPrefix(address, "\x00") {
		return "unix", address
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", strings.TrimPrefix(path, "//")
	}
	return "tcp", address
}

// netDialer leaves TCP's keepalive to the operating system, as gRPC does: the standard library would set times of its
// own.
func (d plainDialer) netDialer() *net.Dialer {
	return &net.Dialer{
		KeepAlive: -1,
		ControlContext: func(_ context.Context, _, address string, c syscall.RawConn) error {
			d.record.Attempt(address)
			return c.Control(enableKeepalive)
		},
	}
}

// throughProxy opens a tunnel by HTTP CONNECT (RFC 9110, section 9.3.6).
func (d plainDialer) throughProxy(ctx context.Context, proxy *url.URL, address string) (conn net.Conn, err error) {
	host := proxy.Host
	if proxy.Port() == "" {
		host = net.JoinHostPort(proxy.Hostname(), "443") // As gRPC does.
	}
	d.record.Proxied(host)
	conn, err = d.netDialer().DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("dial proxy %s: %w", host, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			err = fmt.Errorf("failed to do connect handshake with proxy %s: %w", host, errors.Join(err, conn.Close()))
			conn = nil
		}
	}()
	return connect(conn, proxy.User, address)
}

func connect(conn net.Conn, user *url.Userinfo, address string) (net.Conn, error) {
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Host: address},
		Host:   address,
		Header: http.Header{"User-Agent": {"redial/" + Version}},
	}
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := req.Write(conn); err != nil {
		return conn, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return conn, err
	}
	if resp.StatusCode != http.StatusOK {
		return conn, fmt.Errorf("answered %s", resp.Status)
	}
	if r.Buffered() > 0 {
		return &tunnel{conn, r}, nil
	}
	return conn, nil
}

// tunnel is a connection of which some bytes were read with the proxy's answer.
type tunnel struct {
	net.Conn
	r *bufio.Reader
}

func (t *tunnel) Read(p []byte) (int, error) { return t.r.Read(p) }
