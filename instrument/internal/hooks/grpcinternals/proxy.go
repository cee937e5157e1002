package grpcinternals

import (
	"reflect"
	"strings"

	"google.golang.org/grpc/resolver"
)

// ProxyNames are the fields of an address's attributes, which are a list; the key of the one by which gRPC says that
// the address is a proxy's; and the package and field of its value.
//
// Tried on grpc-go 1.84 and 1.85.
var ProxyNames = struct{ Parent, Key, Value, Option, Package, Server string }{
	Parent: "parent", Key: "key", Value: "value",
	Option: "proxyOptions", Package: "/internal/proxyattributes", Server: "ConnectAddr",
}

// maxAttributes is more than any address has.
const maxAttributes = 64

// ProxiedServer returns the server, as "host:port", that gRPC asks the HTTP CONNECT proxy at an address for, or "" if
// gRPC takes the address for a server's own. It is known unless the attributes of the address are not as redial knows
// them: then the address passes for a server's.
func ProxiedServer(a resolver.Address) (server string, known bool) {
	link := reflect.ValueOf(a.Attributes)
	for range maxAttributes {
		if link.Kind() != reflect.Pointer {
			return "", false
		}
		if link.IsNil() {
			return "", true
		}
		key, value := field(link, ProxyNames.Key), field(link, ProxyNames.Value)
		if key.Kind() != reflect.Interface || value.Kind() != reflect.Interface {
			return "", false
		}
		if name := key.Elem(); name.Kind() == reflect.String && strings.HasSuffix(name.String(), ProxyNames.Option) {
			return proxiedServer(value.Elem())
		}
		link = field(link, ProxyNames.Parent)
	}
	return "", true
}

func proxiedServer(options reflect.Value) (server string, known bool) {
	if options.Kind() != reflect.Struct || !strings.HasSuffix(options.Type().PkgPath(), ProxyNames.Package) {
		return "", false
	}
	of := options.FieldByName(ProxyNames.Server)
	if of.Kind() != reflect.String {
		return "", false
	}
	return of.String(), true
}
