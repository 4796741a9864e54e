package main

// #include <stdlib.h>
// #include "host.h"
import "C"

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

type node struct {
	_    [8]byte
	next *node
}

var null *node

func observe(condition bool, format string, arguments ...any) {
	number := C.int(0)
	if condition {
		number = 1
	}
	what := C.CString(fmt.Sprintf(format, arguments...))
	C.host_observe(number, what)
	C.free(unsafe.Pointer(what))
}

// recovered tells whether the function panics because of a nil dereference.
func recovered(function func()) (yes bool) {
	defer func() {
		err, _ := recover().(runtime.Error)
		yes = err != nil && strings.Contains(err.Error(), "nil pointer dereference")
	}()
	function()
	return false
}

func dereferenceNil() {
	null.next = null
}

func nilPanics(where string) {
	observe(recovered(dereferenceNil), "%s: a nil dereference panics and is recovered", where)
}

// 99 panics.
//
//export inOcall
func inOcall(argument C.uint64_t) C.uint64_t {
	if argument == 99 {
		dereferenceNil()
	}
	nilPanics("in an OCALL")
	runtime.GC()
	return argument + 1
}

func exceptions(where string) {
	for what, vector := range []C.int{C.RAISE_UD: 6, C.RAISE_NULL: 14, C.RAISE_GP: 13, C.RAISE_DE: 0} {
		observe(C.host_raise(0, C.int(what)) == vector, "%s: the enclave's host is told of exception %d", where, vector)
	}
}

func manyGoroutines() {
	const goroutines, rounds = 3, 10
	var right int32
	var all sync.WaitGroup
	for tcs := 1; tcs <= goroutines; tcs++ {
		all.Add(1)
		go func(tcs int) {
			defer all.Done()
			for i := 0; i < rounds; i++ {
				if C.host_raise(C.uint(tcs), C.RAISE_NULL) == 14 && recovered(dereferenceNil) {
					atomic.AddInt32(&right, 1)
				}
			}
		}(tcs)
	}
	all.Wait()
	observe(right == goroutines*rounds, "goroutines: each exception comes to whom it belongs to")
}

// The loop makes no calls: only SIGURG gets it off its processor.
func preemption() {
	const goroutines, signals = 3, 10
	var stop, looped uint32
	received := make(chan os.Signal, 1024)
	signal.Notify(received, syscall.SIGURG)
	results := make(chan C.int)
	spins := make([]*C.struct_spin, goroutines)
	for i := range spins {
		spins[i] = C.host_new_spin()
		go func(i int) { results <- C.host_spin(C.uint(i+1), spins[i]) }(i)
	}
	for _, spin := range spins {
		for atomic.LoadUint32((*uint32)(&spin.started)) == 0 {
			runtime.Gosched()
		}
	}
	go func() {
		for atomic.LoadUint32(&stop) == 0 {
		}
		atomic.StoreUint32(&looped, 1)
	}()
	runtime.Gosched()
	runtime.GC()
	observe(true, "a goroutine that loops is preempted while others are in enclaves")
	sent := true
	for i := 0; i < signals; i++ {
		for _, spin := range spins {
			sent = sent && C.host_send_sigurg(spin) == 0
			<-received
		}
	}
	observe(sent, "SIGURG is sent to threads in enclaves, and Go gets it")
	atomic.StoreUint32(&stop, 1)
	ended := true
	for _, spin := range spins {
		atomic.StoreUint32((*uint32)(&spin.stop), 1)
		ended = <-results == 0 && ended
	}
	observe(ended, "the enclaves go on and return")
	for atomic.LoadUint32(&looped) == 0 {
		runtime.Gosched()
	}
	signal.Reset(syscall.SIGURG)
}

func main() {
	nilPanics("before a runtime starts")
	C.host_start()
	nilPanics("when it has started")
	exceptions("in the beginning")
	observe(C.host_call(41) == 42, "an ECALL with an OCALL into Go")
	observe(recovered(func() { C.host_call(99) }), "a panic in an OCALL is recovered by the caller of the ECALL")
	observe(C.host_call(41) == 42, "the enclave can be called again")
	manyGoroutines()
	preemption()
	exceptions("in the end")
	nilPanics("in the end")
	C.host_finish()
}
