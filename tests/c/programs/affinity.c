/* A thread that enters often comes to share one processor with the supervisor; never with --no-pin (argument). */
#include "enclave.h"

#include <sched.h>

static int processors(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	return CPU_COUNT(&set);
}

int main(int argc, char **argv)
{
	bool pinned = argc < 2 || strcmp(argv[1], "--no-pin");
	int all = processors(), seen = all;
	struct enclave enclave;

	if (all == 1) {
		ok(true, "# SKIP there is only one processor");
		return done();
	}
	enclave_load(&enclave, NULL);
	for (int i = 0; i < (pinned ? 20000 : 500) && seen == all; i++) {
		ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
		seen = processors();
	}
	ok_eq(seen, pinned ? 1 : all, "sched_getaffinity");
	return done();
}
