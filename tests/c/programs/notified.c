/* An enclave that is notified of every AEX goes on by itself, with the registers that it had: each result is right. */
#include "storm.h"

enum { ROUNDS = 3000 };

static long checksum(void *tcs, uint64_t index, uint64_t i)
{
	uint64_t x = (index << 32) + i + 1;
	struct request request = { .op = OP_CHECKSUM, .a = ROUNDS, .b = x, .c = 1 };
	long bad = enclave_call(tcs, &request, NULL) != 0 || request.cssa;
	for (int n = 0; n < ROUNDS; n++)
		x = checksum_round(x);
	return bad + (request.result != x);
}

int main(int argc, char **argv)
{
	static const struct enclave_options options = { .attributes = ATTRIBUTE_AEXNOTIFY, .tcs_flags = TCS_AEXNOTIFY };

	storm_options = &options;
	return storm(argc, argv, 1000, checksum);
}
