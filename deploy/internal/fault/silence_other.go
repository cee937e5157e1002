//go:build !linux

package fault

import "errors"

// Silence needs Linux.
func (l *Listener) Silence(bool) error {
	return errors.New("silence a socket: only Linux drops what a socket receives by its TTL")
}
