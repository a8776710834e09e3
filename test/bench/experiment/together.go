package experiment

import "sync"

// together calls f for each, n at a time, and returns when all have returned: for
// what takes its time and not the machine's.
func together[T any](n int, all []T, f func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	for _, one := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(one)
		})
	}
	wg.Wait()
}
