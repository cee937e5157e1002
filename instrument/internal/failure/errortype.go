// Package failure names what went wrong. It classifies errors into the few values of error.type, and turns the
// evidence of a lost transport into its cause.
package failure

// The values of error.type. They label metrics, so the set is closed and small: errors on which an engineer acts in the
// same way share a value. docs/causes.md says what to do about each.
const (
	// ConnectionRefused: nobody listens at the address.
	ConnectionRefused = "connection_refused"
	// Timeout: the other side did not answer in time.
	Timeout = "timeout"
	// HostUnreachable: no route leads to the host, or it is down (EHOSTUNREACH, EHOSTDOWN).
	HostUnreachable = "host_unreachable"
	// NetworkUnreachable: no route leads to the network, or the interface is down (ENETUNREACH, ENETDOWN).
	NetworkUnreachable = "network_unreachable"
	// ConnectionReset: the other side answered with RST.
	ConnectionReset = "connection_reset"
	// ClosedByPeer: the other side closed the connection.
	ClosedByPeer = "closed_by_peer"
	// NoSuchFile: the unix socket's file is not there (ENOENT).
	NoSuchFile = "no_such_file"
	// PermissionDenied: this host forbids the connection (EACCES, EPERM).
	PermissionDenied = "permission_denied"
	// BacklogFull: the unix socket's listener does not accept as fast as clients connect (EAGAIN).
	BacklogFull = "backlog_full"
	// AddressNotAvailable: this host has no local address or port for the connection (EADDRNOTAVAIL).
	AddressNotAvailable = "address_not_available"
	// AddressFamilyNotSupported: this host does not speak the address's protocol, IPv6 for instance (EAFNOSUPPORT).
	AddressFamilyNotSupported = "address_family_not_supported"
	// ResourceExhausted: this host or process has no more file descriptors or memory for sockets (EMFILE, ENFILE,
	// ENOBUFS, ENOMEM).
	ResourceExhausted = "resource_exhausted"
	// InvalidAddress: the address lacks its port, or is malformed in another way.
	InvalidAddress = "invalid_address"
	// NameResolution: a name has no addresses, or its resolver failed.
	NameResolution = "name_resolution"
	// Proxy: the HTTP CONNECT proxy failed or refused.
	Proxy = "proxy"
	// TLSCertificateExpired, TLSCertificateNotYetValid: the server's certificate, by this host's clock.
	TLSCertificateExpired     = "tls_certificate_expired"
	TLSCertificateNotYetValid = "tls_certificate_not_yet_valid"
	// TLSCertificateInvalid: the server's certificate may not be used so, or has another fault.
	TLSCertificateInvalid = "tls_certificate_invalid"
	// TLSUnknownAuthority: nobody whom this client trusts signed the server's certificate.
	TLSUnknownAuthority = "tls_unknown_authority"
	// TLSHostnameMismatch: the server's certificate is for another name.
	TLSHostnameMismatch = "tls_hostname_mismatch"
	// TLSAlert: the server refused the client's handshake or certificate.
	TLSAlert = "tls_alert"
	// NotTLS: the other side does not speak TLS.
	NotTLS = "not_tls"
	// NotHTTP2: the other side does not speak HTTP/2.
	NotHTTP2 = "not_http2"
	// OutlierEjected: outlier detection (gRFC A50) took a READY transport out of use, since its RPCs fail.
	OutlierEjected = "outlier_ejected"
	// HealthCheckFailed: the server says that it does not serve (gRFC A17), on a READY transport.
	HealthCheckFailed = "health_check_failed"
	// LBPolicy: a load balancing policy refused the RPC for a reason of its own, and no endpoint failed.
	LBPolicy = "lb_policy"
	// Cancelled: this side gave up.
	Cancelled = "cancelled"
	// Other: none of the above. The error's text says more.
	Other = "_OTHER"
)

// HealthTypes lists the values of error.type of READY transports that are not in use.
var HealthTypes = []string{OutlierEjected, HealthCheckFailed}

// Types lists the other values of error.type, but for LBPolicy, which only RPCs have.
var Types = []string{
	ConnectionRefused, Timeout, HostUnreachable, NetworkUnreachable, ConnectionReset, ClosedByPeer, NoSuchFile,
	PermissionDenied, BacklogFull, AddressNotAvailable, AddressFamilyNotSupported, ResourceExhausted, InvalidAddress,
	NameResolution, Proxy, TLSCertificateExpired, TLSCertificateNotYetValid, TLSCertificateInvalid, TLSUnknownAuthority,
	TLSHostnameMismatch, TLSAlert, NotTLS, NotHTTP2, Cancelled, Other,
}
