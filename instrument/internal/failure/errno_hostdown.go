//go:build !plan9 && !wasip1

package failure

import "syscall"

// hostDown is what not every system has a number for.
var hostDown = []errnoType{{syscall.EHOSTDOWN, HostUnreachable}}
