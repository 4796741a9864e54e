/*
 * What the program needs of Linux's interface on x86-64, so that it needs no C library and no headers but gcc's own.
 * Names are those of the kernel's headers: asm/sgx.h, asm/sigcontext.h, asm-generic/mman-common.h.
 */
#ifndef CONFORM_KERNEL_H
#define CONFORM_KERNEL_H

#include <stddef.h>
#include <stdint.h>

enum system_call {
	SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_MMAP = 9, SYS_MPROTECT = 10, SYS_MUNMAP = 11,
	SYS_RT_SIGACTION = 13, SYS_IOCTL = 16, SYS_PREAD64 = 17,
	SYS_PWRITE64 = 18, SYS_MREMAP = 25, SYS_MSYNC = 26, SYS_MADVISE = 28, SYS_DUP = 32, SYS_SETITIMER = 38, SYS_CLONE = 56,
	SYS_GETPID = 39, SYS_WAIT4 = 61, SYS_UNAME = 63, SYS_SIGALTSTACK = 131, SYS_GETPPID = 110, SYS_PERSONALITY = 135, SYS_PRCTL = 157, SYS_ARCH_PRCTL = 158,
	SYS_EXIT_GROUP = 231,
};

/* The result, or an errno as a negative number. */
static inline long call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
}

static inline long call3(long number, long a, long b, long c)
{
	return call6(number, a, b, c, 0, 0, 0);
}

enum error_number { EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16, EEXIST = 17,
		    ENODEV = 19, EINVAL = 22, ENOTTY = 25, EOVERFLOW = 75, EOPNOTSUPP = 95 };

enum open_flag { O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_ACCMODE = 3, O_CLOEXEC = 02000000 };
enum protection { PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4 };
enum map_flag { MAP_SHARED = 1, MAP_PRIVATE = 2, MAP_SHARED_VALIDATE = 3, MAP_FIXED = 0x10, MAP_ANONYMOUS = 0x20,
		MAP_GROWSDOWN = 0x100, MAP_POPULATE = 0x8000, MAP_HUGETLB = 0x40000, MAP_SYNC = 0x80000,
		MAP_FIXED_NOREPLACE = 0x100000 };
enum mremap_flag { MREMAP_MAYMOVE = 1, MREMAP_FIXED = 2, MREMAP_DONTUNMAP = 4 };
enum msync_flag { MS_ASYNC = 1, MS_SYNC = 4 };
enum advice { MADV_DONTNEED = 4, MADV_FREE = 8, MADV_DONTFORK = 10, MADV_DOFORK = 11, MADV_DONTDUMP = 16, MADV_DODUMP = 17,
	      MADV_WIPEONFORK = 18, MADV_COLD = 20, MADV_PAGEOUT = 21 };
enum prctl_option { PR_SET_PDEATHSIG = 1 };
enum personality { READ_IMPLIES_EXEC = 0x0400000 };

/* asm/sgx.h */
#define SGX_IOC_ENCLAVE_CREATE 0x4008a400u
#define SGX_IOC_ENCLAVE_ADD_PAGES 0xc030a401u
#define SGX_IOC_ENCLAVE_INIT 0x4008a402u
#define SGX_IOC_ENCLAVE_PROVISION 0x4008a403u
#define SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS 0xc028a405u
#define SGX_IOC_ENCLAVE_MODIFY_TYPES 0xc028a406u
#define SGX_IOC_ENCLAVE_REMOVE_PAGES 0xc018a407u
#define SGX_PAGE_MEASURE 1

struct sgx_enclave_create {
	uint64_t src;
};

struct sgx_enclave_add_pages {
	uint64_t src, offset, length, secinfo, flags, count;
};

struct sgx_enclave_init {
	uint64_t sigstruct;
};

struct sgx_enclave_provision {
	uint64_t fd;
};

struct sgx_enclave_restrict_permissions {
	uint64_t offset, length, permissions, result, count;
};

struct sgx_enclave_modify_types {
	uint64_t offset, length, page_type, result, count;
};

struct sgx_enclave_remove_pages {
	uint64_t offset, length, count;
};

struct sgx_enclave_run {
	uint64_t tcs;
	uint32_t function;
	uint16_t exception_vector, exception_error_code;
	uint64_t exception_addr, user_handler, user_data;
	uint8_t reserved[216];
};

/* asm/sigcontext.h, asm-generic/siginfo.h */
enum signal { SIGILL = 4, SIGTRAP = 5, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9, SIGSEGV = 11, SIGALRM = 14 };
enum action_flag { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000, SA_NODEFER = 0x40000000 };

struct siginfo {
	int32_t si_signo, si_errno, si_code, pad;
	uint64_t si_addr;
};

struct sigcontext {
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	uint16_t cs, gs, fs, ss;
	uint64_t err, trapno, oldmask, cr2, fpstate;
};

struct ucontext {
	uint64_t uc_flags, uc_link, ss_sp;
	int32_t ss_flags, pad;
	uint64_t ss_size;
	struct sigcontext mcontext;
};

struct sigaction {
	void (*handler)(int signo, struct siginfo *info, struct ucontext *context);
	uint64_t flags;
	void (*restorer)(void);
	uint64_t mask;
};

struct stack {
	uint64_t ss_sp;
	int32_t ss_flags, pad;
	uint64_t ss_size;
};

struct itimerval {
	long interval_seconds, interval_microseconds, seconds, microseconds;
};

struct utsname {
	char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};

enum auxiliary { AT_NULL = 0, AT_SYSINFO_EHDR = 33 };

#endif
