// Skykv shows key-value stores on DynamoDB, Firestore, Azure Tables and SQLite,
// moves entries between them, sets them up and checks them.
//
//	go install github.com/skykv/skykv/cmd/skykv@latest
//	skykv help
package main

import (
	"os"

	"github.com/skykv/skykv/cmd/skykv/command"
	"github.com/skykv/skykv/providers"
)

func main() {
	os.Exit(command.Run(providers.All(), os.Args[1:]))
}
