package agent

// Variables returns the names of redial's environment variables, and of those of OpenTelemetry that the agent reads or
// checks itself.
func Variables() (names []string) {
	for _, s := range settings {
		names = append(names, s.name)
	}
	for _, v := range sdkVariables {
		names = append(names, v.Name)
	}
	return append(names, prometheusHost)
}
