package grpcinternals

import (
	"reflect"
	"strings"

	"google.golang.org/grpc/resolver"
)

// ProxiedServer returns the server, as "host:port", that gRPC asks the HTTP CONNECT proxy at an address for, or "" if
// gRPC takes the address for a server's own. gRPC puts the server into the attributes of the proxy's address, in
// types of a package of its own: they are read by reflection, and where a version of gRPC keeps the server elsewhere
// the address passes for a server's.
func ProxiedServer(a resolver.Address) string {
	const depth = 64 // More attributes than any address has.
	link := reflect.ValueOf(a.Attributes)
	for range depth {
		if link.Kind() != reflect.Pointer || link.IsNil() {
			return ""
		}
		if server := proxiedServer(field(link, "value")); server != "" {
			return server
		}
		link = field(link, "parent")
	}
	return ""
}

// proxiedServer returns the server in the value of an attribute, or "" if the value is another.
func proxiedServer(value reflect.Value) string {
	if value.Kind() != reflect.Interface || value.IsNil() {
		return ""
	}
	options := value.Elem()
	if options.Kind() != reflect.Struct || !strings.HasSuffix(options.Type().PkgPath(), "/internal/proxyattributes") {
		return ""
	}
	if server := options.FieldByName("ConnectAddr"); server.Kind() == reflect.String {
		return server.String()
	}
	return ""
}
