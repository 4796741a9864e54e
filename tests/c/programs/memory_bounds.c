/* What the machine has in a program's memory is small: a limit of addresses leaves room for the program, and all of it can be
   locked, whether that is asked for before or after. */
#include "enclave.h"

#include <sys/resource.h>

static unsigned long megabytes(const char *field)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned long kb = 0;
	char line[256];

	while (fgets(line, sizeof line, status))
		if (!strncmp(line, field, strlen(field)))
			sscanf(line + strlen(field) + 1, "%lu", &kb);
	fclose(status);
	return kb >> 10;
}

int main(void)
{
	struct rlimit limit;
	struct enclave enclave;

	ok_eq(mlockall(MCL_FUTURE), 0, "what comes is to be locked");
	enclave_load(&enclave, NULL);
	for (int i = 0; i < 100; i++)
		ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	ok_eq(mlockall(MCL_CURRENT), 0, "and what is there");
	ok(megabytes("VmLck") < 64, "%lu MiB are locked", megabytes("VmLck"));
	ok(megabytes("VmSize") < 256, "of %lu MiB", megabytes("VmSize"));
	munlockall();
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = 512ul << 20;
	setrlimit(RLIMIT_AS, &limit);
	ok(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, "there is room for more");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 2, 3, 0), 5, "enters");
	return done();
}
