package lifecycle

import "slices"

// bag is a set of few things: as a slice it takes a tenth of a map's memory, and there is one for each channel and
// endpoint. Its order means nothing.
type bag[T comparable] []T

func (b *bag[T]) add(one T) { *b = append(*b, one) }

// remove reports whether it was there.
func (b *bag[T]) remove(one T) bool {
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
