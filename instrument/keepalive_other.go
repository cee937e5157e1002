//go:build !unix && !windows

package instrument

// enableKeepalive does nothing, as in gRPC.
func enableKeepalive(uintptr) {}
