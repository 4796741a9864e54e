// An SGX host in Go without cgo.  The Go runtime owns SIGSEGV, and preempts goroutines by SIGURG wherever they are.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

var function, base uintptr

// call enters the enclave by the TCS and returns what the vDSO reported and the enclave's result.
func call(tcs int, op, a, b uint64) (Run, uint64) {
	request := &Request{op: op, a: a, b: b}
	run := &Run{tcs: uint64(base) + uint64(tcs)*page}
	if enter(function, uintptr(unsafe.Pointer(request)), eenter, uintptr(unsafe.Pointer(run))) != 0 {
		panic("__vdso_sgx_enter_enclave")
	}
	return *run, request.result
}

func checksum(rounds, x uint64) uint64 {
	for ; rounds > 0; rounds-- {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

// A nil dereference of Go's own, which its SIGSEGV handler makes a panic.
func nilDereferencePanics() (panicked bool) {
	defer func() { panicked = recover() != nil }()
	var nothing *Request
	return nothing.result == 1
}

func work(tcs int, wrong chan<- string) {
	const rounds = 2_000_000 // far longer than a goroutine's time slice
	for i := uint64(1); i <= 50; i++ {
		if run, got := call(tcs, opAdd, uint64(tcs)<<40, i); run.function != eexit || got != uint64(tcs)<<40+i {
			wrong <- fmt.Sprint("addition: ", run, got)
		}
		if i%10 == 0 {
			if run, got := call(tcs, opChecksum, rounds, i); run.function != eexit || got != checksum(rounds, i) {
				wrong <- fmt.Sprint("checksum: ", run, got)
			}
		}
		if i%25 == 0 {
			run, _ := call(tcs, opRead, 3*page, 0)
			if run.function != eresume || run.vector != 14 || run.code != 4 || run.addr != 3*page {
				wrong <- fmt.Sprint("fault: ", run)
			}
			if !nilDereferencePanics() {
				wrong <- "a nil dereference did not panic"
			}
		}
	}
}

func main() {
	function, base = vdsoFunction(), load(os.Args[1], os.Args[2])
	wrong := make(chan string, 1000)
	var workers sync.WaitGroup
	for tcs := 0; tcs < 4; tcs++ {
		workers.Add(1)
		go func(tcs int) {
			defer workers.Done()
			work(tcs, wrong)
		}(tcs)
	}
	go func() {
		for { // stopping the world preempts what runs too long
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}()
	workers.Wait()
	close(wrong)
	status := 0
	for message := range wrong {
		fmt.Println(message)
		status = 1
	}
	os.Exit(status)
}
