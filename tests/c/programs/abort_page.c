/* Code outside reads ones from a TCS and from a pending page; what it writes there is lost. The enclave notices nothing. */
#include "enclave.h"

#include <pthread.h>
#include <setjmp.h>

static struct enclave enclave;
static sigjmp_buf back;
static volatile uint64_t fault_address, fault_code;

static void handler(int signo, siginfo_t *info, void *context)
{
	fault_address = (uint64_t)info->si_addr;
	fault_code = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR];
	siglongjmp(back, signo);
}

static void copy_string(void *from, void *to, uint64_t size)
{
	__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(size) : : "memory");
}

static volatile bool stop;

/* Short calls: the other thread's reads then meet this one at every point of entry and exit. */
static void *compute(void *wrong)
{
	for (uint64_t i = 0; !stop || i < 100; i++) {
		struct request request = { .op = OP_ADD, .a = i, .b = 7 };

		if (enclave_call(enclave_tcs(&enclave, 1), &request, NULL) || request.result != i + 7)
			*(volatile bool *)wrong = true;
	}
	return NULL;
}

int main(void)
{
	struct enclave_options options = { .spare_pages = 4 };
	struct request request = { .op = OP_ADD, .a = 1, .b = 2 };
	uint8_t copy[2 * PAGE];
	volatile uint64_t *tcs;
	volatile bool wrong = false;
	bool ones = true;
	pthread_t thread;
	char *hole;

	enclave_load(&enclave, &options);
	handle(SIGSEGV, handler);
	tcs = enclave_tcs(&enclave, 0);
	ok_eq(tcs[0], ~0ull, "a word of a TCS");
	ok_eq(*(volatile uint64_t *)((uint8_t *)tcs + PAGE - 4), ~0ull, "one across two of them");
	memset(copy, 0, sizeof(copy));
	copy_string((void *)tcs, copy, sizeof(copy));
	for (unsigned i = 0; i < sizeof(copy); i++)
		ones &= copy[i] == 0xff;
	ok(ones, "a copy of two");
	tcs[2] = 0x1234;
	ok_eq(tcs[2], ~0ull, "a write is lost");
	ok_eq(__atomic_exchange_n((uint64_t *)tcs, 5, __ATOMIC_SEQ_CST), ~0ull, "so is an exchange");
	enclave_call((void *)tcs, &request, NULL);
	ok_eq(request.result, 3, "the TCS still serves");
	ok_eq(*(volatile uint8_t *)(enclave.base + enclave.spare), 0xff, "a page that EAUG has just added");

	hole = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!sigsetjmp(back, 1)) {
		copy_string((void *)tcs, hole + 8, 1);
		ok(false, "no fault");
	}
	ok_eq(fault_address, (uint64_t)hole + 8, "another fault of the same instruction: its address");
	ok_eq(fault_code & 2, 2, "it was a write");
	if (!sigsetjmp(back, 1)) {
		((void (*)(void))tcs)();
		ok(false, "no fault");
	}
	ok_eq(fault_address, (uint64_t)tcs, "a TCS cannot be executed");

	pthread_create(&thread, NULL, compute, (void *)&wrong);
	ones = true;
	for (int i = 0; i < 200; i++)
		ones &= tcs[i] == ~0ull;
	stop = true;
	pthread_join(thread, NULL);
	ok(ones && !wrong, "while another thread is in the enclave");
	return done();
}
