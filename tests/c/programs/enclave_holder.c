/*
 * Has an enclave, says "up" and waits for a byte; with `evicted`, three times: then another process has pages of the
 * enclave taken away, and all are "right" afterwards. Then it ends, as argv[1] says.
 */
#include "enclave.h"

#include <sys/syscall.h>

#define HEAP 90
#define OTHERS_HEAP 220 /* more than is left of the EPC */

static struct enclave enclave;
static int go[2], gone[2];

static void evict(void)
{
	struct enclave_options options = { .heap_pages = OTHERS_HEAP };
	struct enclave other;
	char byte;

	close(go[1]);
	while (read(go[0], &byte, 1) == 1) {
		enclave_load(&other, &options);
		enclave_unload(&other);
		write(gone[1], "x", 1);
	}
	_exit(0);
}

static bool right(uint64_t round)
{
	bool right = true;
	char byte;

	for (uint64_t i = 0; i < HEAP; i++) {
		uint64_t page = (uint64_t)enclave.base + enclave.heap + i * PAGE;

		right &= !round || ask(enclave_tcs(&enclave, 0), OP_READ, page, 0, 0) == i + round;
		ask(enclave_tcs(&enclave, 0), OP_WRITE, page, i + round + 1, 0);
	}
	write(go[1], "x", 1);
	return right && read(gone[0], &byte, 1) == 1;
}

static void *ends(void *how)
{
	char byte;

	read(0, &byte, 1);
	if (!strcmp(how, "thread")) /* the first thread has ended before */
		syscall(SYS_exit, 0);
	if (!strcmp(how, "exec"))
		execl("/bin/sh", "sh", "-c", "echo new; exec cat", NULL);
	if (!strcmp(how, "signal"))
		abort();
	if (!strcmp(how, "vfork") && !vfork())
		_exit(0);
	exit(0);
}

int main(int argc, char **argv)
{
	struct enclave_options options = { .heap_pages = HEAP };
	bool evicted = argc > 2 && !strcmp(argv[2], "evicted");
	pthread_t thread;
	char byte;

	pipe(go);
	pipe(gone);
	if (evicted && !fork())
		evict();
	enclave_load(&enclave, &options);
	ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
	puts("up");
	fflush(stdout);
	for (uint64_t round = 0; evicted && round < 3; round++) {
		read(0, &byte, 1);
		puts(right(round) ? "right" : "wrong");
		fflush(stdout);
	}
	if (strcmp(argv[1], "thread"))
		ends(argv[1]);
	pthread_create(&thread, NULL, ends, argv[1]);
	pthread_exit(NULL);
}
