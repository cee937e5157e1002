package grpcinternals_test

import (
	"testing"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/redial-dev/redial/instrument/internal/hooks/grpcinternals"
)

type optionKey string

// Where the attributes of an address are not as redial knows them, its server is not known.
func TestProxyChanged(t *testing.T) {
	plain := resolver.Address{Addr: "127.0.0.1:1"}
	other := resolver.Address{Addr: "127.0.0.1:1", Attributes: attributes.New(optionKey("zone"), "a").WithValue(1, 2)}
	option := resolver.Address{Addr: "127.0.0.1:1", Attributes: attributes.New(optionKey("x.proxyOptions"), "server:1")}
	names := &grpcinternals.ProxyNames
	unchanged := *names
	for name, c := range map[string]struct {
		change  func()
		address resolver.Address
		known   bool
	}{
		"no attributes":  {func() {}, plain, true},
		"others":         {func() {}, other, true},
		"another option": {func() {}, option, false},
		"the keys":       {func() { names.Key = "k" }, other, false},
		"the values":     {func() { names.Value = "v" }, other, false},
		"the list":       {func() { names.Parent = "next" }, other, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { *names = unchanged })
			c.change()
			if server, known := grpcinternals.ProxiedServer(c.address); server != "" || known != c.known {
				t.Errorf("the server is %q (known: %t)", server, known)
			}
		})
	}
}
