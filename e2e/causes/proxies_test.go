package causes

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/redial-dev/redial/e2e/internal/loopback"
)

// The HTTP CONNECT proxy of the environment does not let the client through, in each of these ways.
func TestProxyFails(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refuses":              "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		"wants credentials":    "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
		"speaks TLS":           "\x15\x03\x01\x00\x02\x02\x16",
		"closes":               "",
		"closes in mid-answer": "HTTP/1.1 200 Conn",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !isChild(t) {
				proxy := loopback.Accept(t, func(c *net.TCPConn) error {
					if _, err := c.Read(make([]byte, 4096)); err != nil {
						return err
					}
					_, err := io.WriteString(c, answer)
					return errors.Join(err, c.Close())
				})
				runChild(t, "HTTPS_PROXY=http://"+proxy, "NO_PROXY=") // net/http reads the environment once.
				recordType("proxy")
				return
			}
			env := newEnvironment(t)
			env.dial("dns:///service.test:443")
			if e := env.failed(); e.ErrorType != "proxy" {
				t.Errorf("%s: the type is %s", e, e.ErrorType)
			}
		})
	}
}
