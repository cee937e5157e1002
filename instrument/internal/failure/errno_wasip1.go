package failure

// hostDown is what this system has no number for.
var hostDown []errnoType
