package failure

// errnoTypes are none, and fromErrno classifies nothing: the kernel's errors are texts here.
var errnoTypes []errnoType

func fromErrno(error) string { return "" }
