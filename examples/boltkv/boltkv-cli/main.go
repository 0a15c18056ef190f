// Boltkv-cli is the skykv command with one more kind of store, boltkv.
package main

import (
	"os"

	"github.com/skykv/skykv/cmd/skykv/command"
	"github.com/skykv/skykv/examples/boltkv"
	"github.com/skykv/skykv/providers"
)

func main() {
	os.Exit(command.Run(append(providers.All(), boltkv.Provider()), os.Args[1:]))
}
