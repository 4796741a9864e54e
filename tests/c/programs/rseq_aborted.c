/*
 * A restartable sequence (rseq(2)) during which its thread was off the processor is aborted, never committed, whatever
 * the machine does meanwhile: it takes pages of the thread's enclave away for another process (`elsewhere`), or shows
 * one that the sequence itself reads (`fault`). `reaper`: with PR_SET_CHILD_SUBREAPER, so that a thread has to make the
 * machine's calls.
 */
#include "enclave.h"

#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>

#define ROUNDS 20
#define HEAP 90
#define OTHERS_HEAP 220 /* more than is left of the EPC */

static struct { volatile uint32_t wanted, done; } *shared;

static struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* Within the sequence: *wanted = round, *page is read, and then it spins until *done == round. Whether it committed. */
__attribute__((noinline)) static bool sequence(uint32_t round, const volatile uint8_t *page)
{
	bool committed;

	__asm__ volatile(
		".pushsection __rseq_cs, \"aw\"\n"
		".balign 32\n"
		"3:	.long 0, 0\n"
		"	.quad 1f, 2f - 1f, 4f\n"
		".popsection\n"
		"	lea 3b(%%rip), %%rax\n"
		"	mov %%rax, %c[cs](%[area])\n"
		"1:	mov %[round], (%[wanted])\n"
		"	mov (%[page]), %%al\n"
		"5:	pause\n"
		"	cmp %[round], (%[done])\n"
		"	jne 5b\n"
		"	mov $1, %k[committed]\n"
		"2:	jmp 6f\n"
		"	.byte 0x0f, 0xb9, 0x3d\n" /* UD1, and in it the signature */
		"	.long 0x53053053\n"
		"4:	xor %k[committed], %k[committed]\n"
		"6:\n"
		: [committed] "=&r"(committed)
		: [area] "r"(area()), [cs] "i"(offsetof(struct rseq, rseq_cs)), [round] "r"(round), [page] "r"(page),
		  [wanted] "r"(&shared->wanted), [done] "r"(&shared->done)
		: "rax", "memory", "cc");
	return committed;
}

/* The other process: pages for an enclave of its own, which are taken from the first one's. */
static void evict(void)
{
	struct enclave_options options = { .heap_pages = OTHERS_HEAP };
	struct enclave enclave;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t round = 1;; round++) {
		while (shared->wanted != round)
			continue;
		enclave_load(&enclave, &options);
		enclave_unload(&enclave);
		shared->done = round;
	}
}

static long switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

int main(int argc, char **argv)
{
	bool fault = argc > 1 && !strcmp(argv[1], "fault");
	struct enclave_options options = { .heap_pages = HEAP };
	int committed = 0, aborted = 0, wrong = 0;
	struct enclave enclave;
	pid_t other = 0;
	uint8_t nothing;

	if (argc > 2)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	enclave_load(&enclave, &options);
	if (!fault && !(other = fork()))
		evict();
	for (uint32_t round = 1; round <= ROUNDS; round++) {
		uint8_t *heap = enclave.base + enclave.heap;
		const volatile uint8_t *page = fault ? heap + (round % HEAP) * PAGE : &nothing;
		long before;

		if (fault) /* it is not shown again before somebody touches it */
			mprotect(heap, HEAP * PAGE, PROT_NONE), mprotect(heap, HEAP * PAGE, PROT_READ | PROT_WRITE);
		else
			for (uint64_t i = 0; i < HEAP; i++)
				ask(enclave_tcs(&enclave, 0), OP_WRITE, (uint64_t)heap + i * PAGE, i, 0);
		if (fault)
			shared->done = round;
		before = switches();
		if (!sequence(round, page)) {
			aborted++;
		} else {
			committed++;
			wrong += switches() != before;
		}
		while (shared->done != round)
			continue;
	}
	if (other)
		kill(other, SIGKILL);
	printf("# %d committed, %d aborted\n", committed, aborted);
	ok_eq(wrong, 0, "no sequence was committed during which its thread was off the processor");
	if (fault)
		ok_eq(committed, 0, "the page was shown within each of them");
	return done();
}
