package module

import "syscall"

var Kill = syscall.Kill
