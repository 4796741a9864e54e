/*
 * The error code of a page fault is asked of the host kernel, which tells it in a signal frame.  Nothing else is to
 * come of that: not of what is pending, not in memory that the program sees, not where there was no fault.
 */
#include "fault.h"

#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define MADV_GUARD 102

static struct enclave enclave;
static void *tcs;
static volatile struct { int count, code; void *address; } seen;

static void on_segv(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)context;
	seen.count++;
	seen.code = info->si_code;
	seen.address = info->si_addr;
}

static int code_of(int op, uint64_t address)
{
	struct request request = { .op = op, .a = address };
	struct outcome got = attempt(tcs, &request, EENTER);

	drop_frame(tcs);
	return got.error;
}

/* Those of the machine's own words that are addresses in the enclave. */
static int addresses_of_the_enclave(uint8_t *scratch)
{
	int count = 0;

	for (uint64_t *word = (uint64_t *)scratch; (uint8_t *)word < scratch + 0x10000; word++)
		count += *word >= (uint64_t)enclave.base && *word < (uint64_t)enclave.base + enclave.size;
	return count;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 2 };
	uint8_t *scratch = (uint8_t *)getauxval(AT_SYSINFO_EHDR) + 0x10000;
	struct iovec one = { scratch + 7 * PAGE, PAGE };
	uint64_t heap, read_only;
	siginfo_t info = { .si_signo = SIGSEGV, .si_code = SEGV_ACCERR };
	sigset_t set;

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	read_only = heap + PAGE;
	ask(tcs, OP_WRITE, heap, 1, 0);
	ask(tcs, OP_WRITE, read_only, 1, 0);
	mprotect((void *)read_only, PAGE, PROT_READ);

	ok_eq(code_of(OP_WRITE, read_only + 8), 7, "a write that the mapping forbids");
	ok_eq(addresses_of_the_enclave(scratch), 0, "nothing of the enclave's is in the machine's memory");

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigprocmask(SIG_BLOCK, &set, NULL);
	syscall(SYS_tgkill, getpid(), getpid(), SIGSEGV);
	ok_eq(code_of(OP_READ, (uint64_t)enclave_tcs(&enclave, 2)), 0x8005, "with SIGSEGV blocked and pending, a read");
	ok_eq(code_of(OP_WRITE, read_only + 8), 7, "and a write");
	signal(SIGSEGV, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &set, NULL);

	handle(SIGSEGV, on_segv);
	info.si_addr = enclave.base + enclave.data;
	syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGSEGV, &info);
	ok_eq(seen.count, 1, "what looks like a fault, and was sent, is a signal");
	ok_eq(seen.code, SEGV_ACCERR, "with its code");
	ok(seen.address == info.si_addr, "and address");

	ok_eq(syscall(SYS_process_madvise, syscall(SYS_pidfd_open, getpid(), 0), &one, 1, MADV_GUARD, 0), -1,
	      "the machine's memory takes no advice by process_madvise");
	ok_eq(code_of(OP_WRITE, read_only + 8), 7, "and codes are told as before");
	return done();
}
