package service

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skykv/skykv/kv/provider"
	"github.com/skykv/skykv/kv"
)

// errNoTerraform is the error of services that no tool provisions.
var errNoTerraform = &kv.Error{Kind: kv.ErrInvalidOption, Err: errors.New("there is nothing for Terraform to set up; allowed are URLs of cloud services")}

// memory is what mem: leads to.
type memory struct{}

func (memory) Endpoint() string                    { return "" }
func (memory) Credentials(context.Context) []Check { return nil }
func (memory) Provision(context.Context) error     { return nil }
func (memory) Terraform() (string, error)          { return "", errNoTerraform }
func (memory) Close()                              {}

func (memory) Settings(context.Context) []Check {
	return []Check{{Name: "store", Status: OK, Detail: "it is in memory, and gone with the process"}}
}

// file is what file: leads to.
type file struct{ path string }

func newFile(url string) (file, error) {
	u, err := provider.ParseURL("file", "file:PATH?readers=N", url)
	if err == nil && (u.Host != "" || u.Path == "") {
		err = u.Errorf("there is no path")
	}
	if err != nil {
		return file{}, err
	}
	return file{u.Path}, nil
}

func (file) Endpoint() string                    { return "" }
func (file) Credentials(context.Context) []Check { return nil }
func (file) Provision(context.Context) error     { return nil }
func (file) Terraform() (string, error)          { return "", errNoTerraform }
func (file) Close()                              {}

func (f file) Settings(context.Context) []Check {
	folder := filepath.Dir(f.path)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return []Check{{Name: "folder", Status: Fail, Detail: "there is no folder " + folder, Fix: "make it, or fix the path in the URL"}}
	}
	checks := []Check{{Name: "folder", Status: OK, Detail: folder + " is there"}}
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return append(checks, Check{
			Name: "file", Status: Fail, Detail: "there is no file " + f.path, Fix: provision + ", or put something", Step: "make the file " + f.path,
		})
	case err != nil:
		return append(checks, failed("file", err, "see the message"))
	case info.Mode().IsRegular() && info.Size() == 0: // opening it would make it a store
		return append(checks, Check{
			Name: "file", Status: Fail, Detail: "the file " + f.path + " is empty", Fix: provision + ", or put something", Step: "make a store of the empty file " + f.path,
		})
	case !info.Mode().IsRegular():
		return append(checks, Check{Name: "file", Status: Fail, Detail: f.path + " is no file", Fix: "fix the path in the URL"})
	}
	return append(checks, Check{Name: "file", Status: OK, Detail: f.path + " is there"})
}
