// Package tcpinfo asks the kernel about TCP connections (TCP_INFO).
package tcpinfo
