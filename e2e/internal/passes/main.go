// Passes reads what go test -json writes, and prints the package and name of each test that passed.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	in := json.NewDecoder(os.Stdin)
	for {
		var e struct{ Action, Package, Test string }
		err := in.Decode(&e)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "read go test -json:", err)
			os.Exit(1)
		}
		if e.Action == "pass" && e.Test != "" {
			fmt.Println(e.Package, e.Test)
		}
	}
}
