/* System calls by INT 80H: the device opened, and an enclave below 4 GiB mapped, protected and unmapped, as by SYSCALL. */
#include "enclave.h"

#include <sched.h>
#include <setjmp.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#define BASE 0x50000000ul
#define SIZE 0x1000000ul

static sigjmp_buf back;
static struct enclave enclave;
static uint8_t *heap;
static void *tcs;
static char *low; /* a page that 32 bits reach */

static void on_segv(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	siglongjmp(back, 1);
}

static long int80(long number, long a, long b, long c, long d, long e, long f)
{
	long given[] = { a, b, c, d, e, f }, result;

	__asm__ volatile("push %%rbp; mov 40(%2), %%rbp; mov 24(%2), %%rsi; mov 16(%2), %%rdx; mov 8(%2), %%rcx; mov (%2), %%rbx\n\t"
			 "mov 32(%2), %%rdi; int $0x80; pop %%rbp"
			 : "=a"(result) : "0"(number), "D"(given) : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
	return result;
}

/* The same from 32-bit code. */
static long int80_from_compat_mode(long number, long a, long b, long c)
{
	/* push rbx; ...; far return to 32-bit code: int 0x80; far return to here */
	static const uint8_t code32[] = { 0xcd, 0x80, 0xcb }; /* int $0x80; retf */
	uint32_t *stack = (uint32_t *)(low + 3000);
	long result;

	memcpy(low + 2048, code32, sizeof(code32));
	memcpy(low + 2064, (uint8_t[]){ 0x48, 0x89, 0xe9, 0x48, 0x89, 0xcc, 0xc3 }, 7); /* mov rcx, rbp; mov rsp, rcx; ret */
	stack[0] = (uint32_t)(uint64_t)(low + 2064), stack[1] = 0x33;
	__asm__ volatile("push %%rbp; lea 1f(%%rip), %%rbp; push %%rbp; mov %%rsp, %%rbp\n\t"
			 "mov %[stack], %%rsp; sub $16, %%rsp; movq %[code], (%%rsp); movq $0x23, 8(%%rsp); lretq\n\t"
			 "1: pop %%rbp"
			 : "=a"(result)
			 : "0"(number), "b"(a), "c"(b), "d"(c), [stack] "S"(stack), [code] "D"(low + 2048)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

static void reads(const char *name, int page, uint64_t want)
{
	ok_eq(ask(tcs, OP_READ, (uint64_t)heap + page * PAGE, 0, 0), want, name);
}

static void faults(const char *name, int page)
{
	uint64_t where = (uint64_t)heap + page * PAGE;
	struct request read = { .op = OP_READ, .a = where };
	struct outcome got = attempt(tcs, &read, EENTER);

	expect_fault(name, got, ERESUME, 14, got.error & ~1, where);
	drop_frame(tcs);
}

static void mappings(void)
{
	uint32_t *old = (uint32_t *)low;
	long at = (long)heap, place;
	int fresh = open("/dev/sgx_enclave", O_RDWR);

	for (int i = 0; i < 16; i++)
		ask(tcs, OP_WRITE, at + i * PAGE, 0x100 + i, 0);
	ok_eq(int80(125, at, PAGE, PROT_NONE, 0, 0, 0), 0, "mprotect");
	faults("has an effect", 0);
	ok_eq(int80(125, at, PAGE, PROT_READ | PROT_WRITE, 0, 0, 0), 0, "mprotect back");
	reads("the page is as it was", 0, 0x100);
	ok_eq(int80(125, at, PAGE, PROT_EXEC, 0, 0, 0), -EACCES, "mprotect beyond what EADD allows");
	ok_eq(int80(91, at + PAGE, PAGE, 0, 0, 0, 0), 0, "munmap");
	faults("has an effect", 1);
	ok_eq(int80(192, at + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0), at + PAGE, "mmap2 of the device");
	reads("the page is there again", 1, 0x101);
	ok_eq(int80(91, at + 2 * PAGE, PAGE, 0, 0, 0, 0), 0, "another page is unmapped");
	memcpy(old, (uint32_t[]){ at + 2 * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, enclave.fd, 0 }, 24);
	ok_eq(int80(90, (long)old, 0, 0, 0, 0, 0), at + 2 * PAGE, "the old mmap of the device");
	reads("that page is there again", 2, 0x102);
	ok_eq(int80(90, 8, 0, 0, 0, 0, 0), -EFAULT, "with arguments that cannot be read");
	ok_eq(int80(192, at + 3 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), at + 3 * PAGE, "mmap2 of something else");
	ok_eq(*(uint64_t *)(at + 3 * PAGE), 0, "is there instead");
	ok_eq(int80(192, at, PAGE, PROT_READ, MAP_PRIVATE, enclave.fd, 0), -EINVAL, "mmap2 of the device, private");
	place = int80(192, 0, PAGE, PROT_NONE, MAP_SHARED, fresh, 0);
	ok(place > 0 && place < 1l << 32 && !munmap((void *)place, PAGE), "mmap2 of the device anywhere: where 32 bits reach");
	ok_eq(int80(219, at + 4 * PAGE, PAGE, MADV_DONTNEED, 0, 0, 0), -EINVAL, "madvise");
	ok_eq(int80(144, at + 4 * PAGE, PAGE, MS_SYNC, 0, 0, 0), -EINVAL, "msync");
	ok_eq(int80(150, at + 4 * PAGE, PAGE, 0, 0, 0, 0), 0, "mlock");
	ok_eq(int80(163, at + 4 * PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0, 0), -EFAULT, "mremap to more");
	reads("that changed nothing", 4, 0x104);
	ok_eq(int80(163, at + 4 * PAGE, 2 * PAGE, PAGE, 0, 0, 0), at + 4 * PAGE, "mremap to less");
	reads("what is left works", 4, 0x104);
	faults("the rest is gone", 5);
	ok_eq(int80_from_compat_mode(91, at + 6 * PAGE, PAGE, 0), 0, "munmap from 32-bit code");
	faults("it is gone as well", 6);
}

static void replaced(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0600);

	if (id < 0) {
		ok(true, "# SKIP no shared memory here");
		return;
	}
	ok_eq(int80(117, 21 /* SHMAT */, id, SHM_REMAP, (long)low, (long)heap + 7 * PAGE, 0), -ENOSYS, "ipc: shmat with SHM_REMAP is refused");
	reads("and did nothing", 7, 0x107);
	ok_eq(int80(397, id, (long)heap + 7 * PAGE, SHM_REMAP, 0, 0, 0), (long)heap + 7 * PAGE, "shmat replaces it");
	shmctl(id, IPC_RMID, NULL);
	ok_eq(*(uint64_t *)(heap + 7 * PAGE), 0, "by its own memory");
}

static void signals(void)
{
	uint64_t *set = (uint64_t *)low, *before = set + 1;
	sigset_t now;

	*set = 1ul << (SIGILL - 1) | 1ul << (SIGSEGV - 1) | 1ul << (SIGUSR1 - 1);
	ok_eq(int80(175, SIG_BLOCK, (long)set, (long)before, 8, 0, 0), 0, "rt_sigprocmask");
	ok_eq(*before, 0, "nothing was blocked before");
	ok_eq(ask(tcs, OP_ADD, 1, 2, 0), 3, "the enclave works with these signals blocked");
	sigprocmask(0, NULL, &now);
	ok(sigismember(&now, SIGILL) && sigismember(&now, SIGSEGV) && sigismember(&now, SIGUSR1), "and they still are");
	ok_eq(int80(175, SIG_UNBLOCK, (long)set, 0, 8, 0, 0), 0, "unblocked");
	ok_eq(int80(174, SIGUSR1, (long)set, 0, 8, 0, 0), -ENOSYS, "rt_sigaction is refused");
	ok_eq(int80(48, SIGUSR1, SIG_IGN == (void *)1, 0, 0, 0, 0), -ENOSYS, "signal is refused");
	ok_eq(int80(179, (long)set, 8, 0, 0, 0, 0), -ENOSYS, "rt_sigsuspend is refused");
	ok_eq(syscall(0x40000000 | SYS_munmap, heap, PAGE), -1, "a system call of x32");
	ok_eq(errno, ENOSYS, "is refused");
	reads("none of this unmapped anything", 0, 0x100);
}

static int child(void)
{
	int *status = (int *)low;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		int80(252, 42, 0, 0, 0, 0, 0);
		_exit(1);
	}
	while (!int80(7, pid, (long)status, WNOHANG, 0, 0, 0))
		usleep(1000);
	return *status;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 16, .elrange_base = BASE, .elrange_size = SIZE };
	int fd, status;
	pid_t pid;

	low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	strcpy(low, "/dev/sgx_enclave");
	handle(SIGSEGV, on_segv);
	if (sigsetjmp(back, 1)) {
		ok(true, "# SKIP this kernel has no 32-bit system calls");
		return done();
	}
	fd = int80(5, (long)low, O_RDWR, 0, 0, 0, 0);
	signal(SIGSEGV, SIG_DFL);
	ok(fd >= 0, "open");
	ok_eq(int80(54, fd, SGX_IOC_ENCLAVE_INIT, 8, 0, 0, 0), -EINVAL, "ioctl: EINIT of what has not been created");
	ok_eq(int80(295, AT_FDCWD, (long)low, O_RDWR | O_DIRECTORY, 0, 0, 0), -ENOTDIR, "openat");
	ok_eq(int80(33, (long)low, R_OK, 0, 0, 0, 0), 0, "access");
	enclave_load(&enclave, &options);
	heap = enclave.base + enclave.heap;
	tcs = enclave_tcs(&enclave, 0);
	mappings();
	replaced();
	signals();
	ok_eq(child(), 42 << 8, "exit_group and waitpid");
	fflush(stdout);
	pid = int80(120, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0, 0);
	if (!pid)
		_exit(open("/dev/sgx_enclave", O_RDWR) < 0);
	ok(waitpid(pid, &status, 0) == pid && !status, "clone: untraced children have devices, too");
	ok_eq(int80(435, (long)low, 64, 0, 0, 0, 0), -ENOSYS, "clone3 is refused");
	return done();
}
