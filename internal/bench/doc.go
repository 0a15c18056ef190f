// Package bench compares skykv with what it is built on and with its peers. It
// is a module of its own, so that users of skykv never see its dependencies.
//
//	go test -run '^$' -bench Local -count 10 . | tee local.txt
//	benchstat -col /store local.txt
//
// Figures of single stores are for a machine and a disk at rest. The benchmarks
// named Ratio take turns between the stores and stand some noise.
package bench
