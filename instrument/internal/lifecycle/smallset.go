package lifecycle

import "slices"

// smallSet is a set of few things: as a slice it takes a tenth of a map's memory, and there is one for each channel and
// endpoint. It has no order.
type smallSet[T comparable] []T

func (s *smallSet[T]) add(one T) { *s = append(*s, one) }

// remove takes one out, if it is there.
func (s *smallSet[T]) remove(one T) {
	i := slices.Index(*s, one)
	if i < 0 {
		return
	}
	last := len(*s) - 1
	(*s)[i] = (*s)[last]
	*s = slices.Delete(*s, last, last+1)
	if last == 0 {
		*s = nil
	}
}
