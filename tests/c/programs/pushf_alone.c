/* In code that is executed an instruction at a time, for more depends on XCR0 than can be watched, PUSHF shows no TF. */
#include "enclave.h"

#define RX (PT_REG_FLAGS | 5)
#define TF 0x100
#define STEP 64

static const char pushf[] = "\x9c\x58\xc3\x90\x90\x90\x90\x90";	/* PUSHF; POP RAX; RET */
static const char pushfw[] = "\x31\xc0\x66\x50\x66\x50\x66\x50\x66\x9c\x58\xc3\x90\x90\x90\x90"; /* the last of four words */
static const char xgetbv[] = "\x0f\x01\xd0\xc3\x90\x90\x90\x90";

static struct enclave enclave;
static void *tcs;
static uint64_t heap, spare;

static void put(uint64_t at, const char *code, uint64_t size)
{
	for (uint64_t i = 0; i < size; i += 8)
		ask(tcs, OP_WRITE, at + i, *(const uint64_t *)(code + i), 0);
}

static uint64_t flags_of(uint64_t code)
{
	struct request request = { .op = OP_CALL, .a = code };

	expect_exit("PUSHF", attempt(tcs, &request, EENTER));
	return request.result;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 1, .spare_pages = 1 };

	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = (uint64_t)enclave.base + enclave.heap;
	spare = (uint64_t)enclave.base + enclave.spare;
	for (int i = 0; i < 6; i++)
		put(heap + i * STEP, xgetbv, 8);
	put(heap + 7 * STEP, pushf, 8);
	put(heap + 8 * STEP, pushfw, 16);
	ok_eq(mprotect((void *)spare, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), 0, "to be executed");
	ok_eq(ask(tcs, OP_EACCEPTCOPY, spare, RX, heap), 0, "the code is accepted");
	ok_eq(flags_of(spare + 7 * STEP) & TF, 0, "of 64 bits");
	ok_eq(flags_of(spare + 8 * STEP) & TF, 0, "of 16 bits");
	return done();
}
