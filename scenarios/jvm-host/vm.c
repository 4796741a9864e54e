#include "vm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { PAGE = 4096, HEAP_PAGES = 4 };

_Atomic unsigned int vm_null_checks, vm_barriers, vm_polls;

static uint8_t *code, *heap, *poll_page;
static _Atomic unsigned int allocated;

/* uint64_t (const struct object *, int *thrown): the load is the null check; a fault there goes on at THROW. */
static const uint8_t field_code[] = {
	0x48, 0x8b, 0x47, 0x08,				/* mov 8(%rdi), %rax */
	0xc3,						/* ret */
	0xc7, 0x06, 0x01, 0x00, 0x00, 0x00,		/* THROW: movl $1, (%rsi) */
	0x31, 0xc0,					/* xor %eax, %eax */
	0xc3,						/* ret */
};
enum { THROW = 5 };

/* void (struct object *, uint64_t value, void *poll_page) */
static const uint8_t set_field_code[] = {
	0x48, 0x89, 0x77, 0x08,				/* mov %rsi, 8(%rdi): the barrier */
	0x85, 0x02,					/* test %eax, (%rdx): the poll */
	0xc3,						/* ret */
};
enum { SET_FIELD = 64, POLL = SET_FIELD + 4 };

int vm_lift_barrier(uint64_t address)
{
	if (address < (uint64_t)heap || address >= (uint64_t)heap + HEAP_PAGES * PAGE)
		return 0;
	mprotect((void *)(address & -PAGE), PAGE, PROT_READ | PROT_WRITE);
	vm_barriers++;
	return 1;
}

static int handled(int signo, siginfo_t *info, greg_t *registers)
{
	uint64_t rip = registers[REG_RIP], address = (uint64_t)info->si_addr;

	if (signo != SIGSEGV || rip < (uint64_t)code || rip >= (uint64_t)code + PAGE)
		return 0;
	if (address < PAGE && rip == (uint64_t)code) {
		vm_null_checks++;
		registers[REG_RIP] = (greg_t)(code + THROW);
		return 1;
	}
	if (rip == (uint64_t)code + POLL && (address & -PAGE) == (uint64_t)poll_page) {
		vm_polls++;
		mprotect(poll_page, PAGE, PROT_READ);
		return 1;
	}
	return rip == (uint64_t)code + SET_FIELD && vm_lift_barrier(address);
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	if (handled(signo, info, ((ucontext_t *)context)->uc_mcontext.gregs))
		return;
	fprintf(stderr, "A fatal error has been detected by the virtual machine: SIG%s\n", sigabbrev_np(signo));
	abort();
}

static uint8_t *pages(unsigned int count, int prot)
{
	uint8_t *at = mmap(NULL, count * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		abort();
	return at;
}

void vm_start(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };

	heap = pages(HEAP_PAGES, PROT_READ | PROT_WRITE);
	poll_page = pages(1, PROT_READ);
	code = pages(1, PROT_READ | PROT_WRITE);
	memcpy(code, field_code, sizeof(field_code));
	memcpy(code + SET_FIELD, set_field_code, sizeof(set_field_code));
	mprotect(code, PAGE, PROT_READ | PROT_EXEC);
	for (unsigned int i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

uint64_t vm_field(const struct object *object, int *thrown)
{
	*thrown = 0;
	return ((uint64_t (*)(const struct object *, int *))code)(object, thrown);
}

void vm_set_field(struct object *object, uint64_t value)
{
	((void (*)(struct object *, uint64_t, void *))(code + SET_FIELD))(object, value, poll_page);
}

struct object *vm_new(void)
{
	return (struct object *)(heap + allocated++ % HEAP_PAGES * PAGE);
}

void vm_arm_barrier(void)
{
	mprotect(heap, HEAP_PAGES * PAGE, PROT_READ);
}

void vm_arm_poll(void)
{
	mprotect(poll_page, PAGE, PROT_NONE);
}
