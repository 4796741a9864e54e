/* A thread that enters often comes to share one processor with the supervisor; never with --no-pin (argument). */
#include "enclave.h"

static int processors(void)
{
	/* Not sched_getaffinity(), which does not tell: see affinity_kept.c. */
	FILE *file = fopen("/proc/thread-self/status", "r");
	char line[4096];
	int count = 0;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "Cpus_allowed:", 13))
			for (char *c = line + 13; *c; c++)
				count += __builtin_popcountl(strtoul((char[]){ *c, 0 }, NULL, 16));
	fclose(file);
	return count;
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
	ok_eq(seen, pinned ? 1 : all, "processors allowed");
	return done();
}
