/* Segment registers with selectors that ptrace(2) takes from nobody, for their RPL is not 3, are no hindrance. */
#include "enclave.h"

#define NULL_1 1
#define USER_DS 0x28 /* with RPL 0 */

static struct enclave enclave;

static void enter_with(unsigned int selector, const char *name)
{
	struct request request = { .op = OP_ADD, .a = 2, .b = 3 };

	__asm__ volatile("mov %0, %%gs; mov %0, %%ds; mov %0, %%es" : : "r"(selector));
	expect_exit(name, attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	ok_eq(request.result, 5, "its result");
}

int main(void)
{
	enclave_load(&enclave, NULL);
	enter_with(USER_DS, "DS, ES and GS with RPL 0");
	enter_with(NULL_1, "DS, ES and GS with null selectors that are not 0");
	enter_with(USER_DS | 3, "DS, ES and GS as ptrace takes them");
	return done();
}
