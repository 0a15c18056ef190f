// Skykv looks into key-value stores on DynamoDB, Firestore, Azure Tables and
// SQLite, moves entries between them, sets them up and checks them.
//
//	go install github.com/skykv/skykv/cmd/skykv@latest
//	skykv help
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:]))
}
