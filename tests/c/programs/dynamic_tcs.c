/* A TCS made at run time: a page is added, filled, made PT_TCS, accepted and entered; trimmed, it is one no more. */
#include "enclave.h"

#define STACK 0ul
#define NEW_TCS PAGE
#define SSA (2 * PAGE)
#define SGX_READ 0x8005

static struct enclave enclave;
static uint64_t spare;

static int modify(int type)
{
	struct sgx_enclave_modify_types types = { .offset = enclave.spare + NEW_TCS, .length = PAGE, .page_type = type };

	return ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &types);
}

int main(void)
{
	struct enclave_options options = { .spare_pages = 3 };
	struct request add = { .op = OP_ADD, .a = 40, .b = 2 }, ud2 = { .op = OP_UD2 }, fix = { .op = OP_FIX_RIP };
	struct request accept = { .op = OP_EACCEPT, .b = PT_TCS_FLAGS | 0x10 };
	void *old, *tcs;

	enclave_load(&enclave, &options);
	spare = (uint64_t)enclave.base + enclave.spare;
	old = enclave_tcs(&enclave, 0);
	tcs = (void *)(spare + NEW_TCS);
	accept.a = (uint64_t)tcs;
	for (uint64_t page = spare; page < spare + 3 * PAGE; page += PAGE)
		ask(old, OP_EACCEPT, page, PT_REG_FLAGS | 8 | 3, 0);
	expect_fault("a regular page is not entered", attempt(tcs, &add, EENTER), EENTER, 14, SGX_READ, (uint64_t)tcs);
	ask(old, OP_MAKE_TCS, (uint64_t)tcs, enclave.spare + SSA, 0);
	ask(old, OP_WRITE, (uint64_t)tcs + 4088, 1, 0);
	ok_eq(modify(1), 0, "PT_TCS");
	expect_fault("modified, not accepted: not entered", attempt(tcs, &add, EENTER), EENTER, 14, SGX_READ, (uint64_t)tcs);
	expect_fault("EACCEPT sees a reserved byte", attempt(old, &accept, EENTER), ERESUME, 13, 0, 0);
	drop_frame(old);
	ok_eq(modify(4), -1, "not to be modified before it is accepted");
	enclave_unload(&enclave);

	enclave_load(&enclave, &options);
	spare = (uint64_t)enclave.base + enclave.spare;
	old = enclave_tcs(&enclave, 0);
	tcs = (void *)(spare + NEW_TCS);
	for (uint64_t page = spare; page < spare + 3 * PAGE; page += PAGE)
		ask(old, OP_EACCEPT, page, PT_REG_FLAGS | 8 | 3, 0);
	ask(old, OP_MAKE_TCS, (uint64_t)tcs, enclave.spare + SSA, 0);
	modify(1);
	ok_eq(ask(old, OP_EACCEPT, (uint64_t)tcs, PT_TCS_FLAGS | 0x10, 0), 0, "accepted");
	expect_exit("entered", attempt(tcs, &add, EENTER));
	ok_eq(add.result, 42, "result");
	expect_fault("an exception in it", attempt(tcs, &ud2, EENTER), ERESUME, 6, 0, 0);
	expect_fault("its only frame is in use", attempt(tcs, &fix, EENTER), EENTER, 13, 0, 0);
	ok_eq(modify(4), 0, "trimmed");
	expect_fault("not resumed", attempt(tcs, &ud2, ERESUME), ERESUME, 14, SGX_READ, (uint64_t)tcs);
	ok_eq(ask(old, OP_EACCEPT, (uint64_t)tcs, PT_TRIM_FLAGS | 0x10, 0), 0, "the trim is accepted");
	return done();
}
