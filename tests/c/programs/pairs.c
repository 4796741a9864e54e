/* Enters and leaves an enclave again and again, from as many threads as it is told, under a timer's signals if it is told
   to: every result is right. */
#include "storm.h"

static long pair(void *tcs, uint64_t index, uint64_t i)
{
	struct request request = { .op = OP_ADD, .a = index << 32, .b = i };

	return enclave_call(tcs, &request, NULL) || request.result != request.a + i;
}

int main(int argc, char **argv)
{
	return storm(argc, argv, 1000, pair);
}
