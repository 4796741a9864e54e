/* Loads an enclave page by page, with as many pages of heap as it is told: it is the one that was signed. */
#include "enclave.h"

int main(int argc, char **argv)
{
	struct enclave_options options = { .heap_pages = argc > 1 ? strtoul(argv[1], NULL, 0) : 300, .singly = true };
	struct request request = { .op = OP_ADD, .a = 2, .b = 3 };
	struct enclave enclave;

	enclave_load(&enclave, &options);
	ok_eq(enclave_call(enclave_tcs(&enclave, 0), &request, NULL), 0, "entered");
	ok_eq(request.result, 5, "and back");
	return done();
}
