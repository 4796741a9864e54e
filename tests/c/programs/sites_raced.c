/* Threads that come at once to an ENCLU that nobody has executed before: one is looked at when another's has changed it. */
#include "enclave.h"

#include <pthread.h>

#define ROUNDS 60
#define ENTRIES 20
#define SITE 64

static struct enclave enclave;
static pthread_barrier_t together;
static uint8_t *sites;
static _Atomic long wrong;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&together);
		for (uint64_t i = 0; i < ENTRIES; i++) {
			struct request request = { .op = OP_ADD, .a = index << 32, .b = i };
			struct raw_fault fault;

			wrong += raw_enter_at(EENTER, enclave_tcs(&enclave, index), &request, &fault, sites + round * SITE) != RAW_EXITED
				 || request.result != request.a + i;
		}
	}
	return NULL;
}

int main(void)
{
	static const uint8_t enclu_and_jump[] = { 0x0f, 0x01, 0xd7, 0xff, 0x25, 0, 0, 0, 0 };	/* jmp *0(%rip) */
	uint64_t back = (uint64_t)raw_returned;

	enclave_load(&enclave, NULL);
	sites = mmap(NULL, ROUNDS * SITE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int round = 0; round < ROUNDS; round++) {
		memcpy(sites + round * SITE, enclu_and_jump, sizeof enclu_and_jump);
		memcpy(sites + round * SITE + sizeof enclu_and_jump, &back, sizeof back);
	}
	mprotect(sites, ROUNDS * SITE, PROT_READ | PROT_EXEC);
	pthread_barrier_init(&together, NULL, TEST_TCS_COUNT);
	at_each_tcs(work);
	ok_eq(wrong, 0, "results");
	return done();
}
