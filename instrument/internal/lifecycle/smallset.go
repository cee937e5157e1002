package lifecycle

import "slices"

// smallSet is a set of few things: as a slice it takes a tenth of a map's memory, and there is one for each channel and
// endpoint. Its order means nothing.
type smallSet[T comparable] []T

func (b *smallSet[T]) add(one T) { *b = append(*b, one) }

// remove reports whether it was there.
func (b *smallSet[T]) remove(one T) bool {
	i := slices.Index(*b, one)
	if i < 0 {
		return false
	}
	last := len(*b) - 1
	(*b)[i] = (*b)[last]
	*b = slices.Delete(*b, last, last+1)
	if last == 0 {
		*b = nil
	}
	return true
}
