package main

import (
	"debug/elf"
	"encoding/binary"
	"os"
	"syscall"
	"unsafe"
)

const (
	page                      = 4096
	eenter                    = 2
	eresume                   = 3
	eexit                     = 4
	createCmd, addCmd         = 0x4008a400, 0xc030a401
	initCmd                   = 0x4008a402
	secinfoTCS, secinfoReg    = 0x100, 0x200
	atSysinfoEhdr             = 33
	opAdd, opRead, opChecksum = 1, 2, 13
)

// Request is struct request of tests/c/enclaves/requests.h.
type Request struct {
	op, a, b, c, d, result uint64
	_                      [6]uint64
}

// Run is struct sgx_enclave_run.
type Run struct {
	tcs            uint64
	function       uint32
	vector, code   uint16
	addr           uint64
	handler, datum uint64
	_              [216]byte
}

func enter(function, request, leaf, run uintptr) int32

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func mmap(addr, size uintptr, prot, flags, fd int) uintptr {
	at, _, errno := syscall.Syscall6(syscall.SYS_MMAP, addr, size, uintptr(prot), uintptr(flags), uintptr(fd), 0)
	if errno != 0 {
		panic(errno)
	}
	return at
}

func ioctl(fd int, cmd, argument uintptr) {
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), cmd, argument); errno != 0 {
		panic(errno)
	}
}

// outside returns memory that the garbage collector does not know, filled with data.
func outside(data []byte) uintptr {
	size := (len(data) + page - 1) &^ (page - 1)
	at := mmap(0, uintptr(size), 3, syscall.MAP_PRIVATE|syscall.MAP_ANON, -1)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(at)), size), data)
	return at
}

func words(values ...uint64) []byte {
	out := make([]byte, 8*len(values))
	for i, value := range values {
		binary.LittleEndian.PutUint64(out[8*i:], value)
	}
	return out
}

// load builds the enclave of the ELF file and returns its base address.
func load(image, sigstruct string) uintptr {
	file, err := elf.Open(image)
	check(err)
	signature, err := os.ReadFile(sigstruct)
	check(err)
	last := file.Progs[len(file.Progs)-1]
	size := uintptr(page)
	for size < uintptr(last.Vaddr+last.Memsz) {
		size *= 2
	}
	base := (mmap(0, 2*size, 0, syscall.MAP_PRIVATE|syscall.MAP_ANON, -1) + size - 1) &^ (size - 1)
	fd, err := syscall.Open("/dev/sgx_enclave", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	check(err)
	secs := make([]byte, page)
	copy(secs, words(uint64(size), uint64(base), 1, 0, 0, 0, 4, 3))
	ioctl(fd, createCmd, outside(words(uint64(outside(secs)))))
	for _, p := range file.Progs {
		data := make([]byte, (p.Memsz+page-1)&^(page-1))
		_, err := p.ReadAt(data[:p.Filesz], 0)
		check(err)
		// ELF has R and X the other way round than SECINFO and PROT_*.
		prot := int(p.Flags&elf.PF_R>>2 | p.Flags&elf.PF_W | p.Flags&elf.PF_X<<2)
		flags := uint64(secinfoReg | prot)
		if prot == 0 {
			flags, prot = secinfoTCS, 3
		}
		secinfo := outside(words(flags, 0, 0, 0, 0, 0, 0, 0))
		ioctl(fd, addCmd, outside(words(uint64(outside(data)), p.Vaddr, uint64(len(data)), uint64(secinfo), 1, 0)))
		defer mmap(base+uintptr(p.Vaddr), uintptr(len(data)), prot, syscall.MAP_SHARED|syscall.MAP_FIXED, fd)
	}
	ioctl(fd, initCmd, outside(words(uint64(outside(signature)))))
	return base
}

// vdsoFunction finds __vdso_sgx_enter_enclave; the Go runtime keeps its auxiliary vector for itself.
func vdsoFunction() uintptr {
	vector, err := os.ReadFile("/proc/self/auxv")
	check(err)
	var base uintptr
	for ; len(vector) >= 16; vector = vector[16:] {
		if binary.LittleEndian.Uint64(vector) == atSysinfoEhdr {
			base = uintptr(binary.LittleEndian.Uint64(vector[8:]))
		}
	}
	file, err := elf.NewFile(memory(base))
	check(err)
	symbols, err := file.DynamicSymbols()
	check(err)
	for _, symbol := range symbols {
		if symbol.Name == "__vdso_sgx_enter_enclave" {
			return base + uintptr(symbol.Value)
		}
	}
	panic("no __vdso_sgx_enter_enclave")
}

// memory reads the process's own memory as a file.
type memory uintptr

func (m memory) ReadAt(to []byte, offset int64) (int, error) {
	file, err := os.Open("/proc/self/mem")
	if err != nil {
		return 0, err
	}
	defer file.Close()
	return file.ReadAt(to, int64(m)+offset)
}
