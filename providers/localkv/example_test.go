package localkv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/skykv/skykv/kv"
	"github.com/skykv/skykv/providers/localkv"
)

func ExampleNew() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := localkv.New(filepath.Join(dir, "app.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	// All processes that open the file share this lock.
	ctx := context.Background()
	_, err = store.Put(ctx, "lock:job-7", []byte("me"), kv.TTL(30*time.Second), kv.IfNotExists())
	fmt.Println(err)
	_, err = store.Put(ctx, "lock:job-7", []byte("you"), kv.TTL(30*time.Second), kv.IfNotExists())
	fmt.Println(errors.Is(err, kv.ErrConditionFailed))
	// Output:
	// <nil>
	// true
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := localkv.Open(context.Background(), "file:"+dir+"/app.db?readers=8")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Put(context.Background(), "user:42", []byte("Ada")); err != nil {
		log.Fatal(err)
	}
	entry, err := store.Get(context.Background(), "user:42")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", entry.Value)
	// Output: Ada
}

// New refuses a file that is not skykv's, and does not change it.
func ExampleNew_incompatible() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	notes := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(notes, []byte("call mother\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	_, err = localkv.New(notes, nil)
	fmt.Println(errors.Is(err, kv.ErrIncompatible))
	// Output: true
}

// A backup is a separate store with all entries of one moment.
func ExampleBackup() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "skykv-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	path, copied := filepath.Join(folder, "app.db"), filepath.Join(folder, "monday.db")

	store, err := localkv.New(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Put(ctx, "greeting", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	if err := localkv.Backup(ctx, path, copied); err != nil { // while the store is open
		log.Fatal(err)
	}

	backup, err := localkv.New(copied, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer backup.Close()
	entry, err := backup.Get(ctx, "greeting")
	fmt.Println(string(entry.Value), err)
	// Output: hello <nil>
}
