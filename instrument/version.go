package instrument

// ScopeName is the name of the instrumentation scope of all spans and metrics.
const ScopeName = "github.com/redial-dev/redial/instrument"

// Version is the version of the module.
const Version = "0.1.0"
