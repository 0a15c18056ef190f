// Package parallel sends the requests of a batch in parallel.
package parallel

import "sync"

// Do calls f(0) to f(n-1), at most limit of them at once, and returns when all calls have
// ended.
func Do(n, limit int, f func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}
