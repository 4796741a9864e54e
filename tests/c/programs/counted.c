/* Does the thing named first as often as the second argument says: every counter of `--stats` has known values then. */
#include "enclave.h"

static struct enclave enclave;
static void *tcs;

static void on_usr1(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
}

static void once(const char *what, uint64_t i)
{
	struct request request = { .op = OP_UD2 }, skip = { .op = OP_FIX_RIP, .a = 2 };
	uint8_t report[512] __attribute__((aligned(512))), target[512] __attribute__((aligned(512))) = { 0 };
	uint8_t data[64] __attribute__((aligned(128))) = { 0 };
	struct spinner spinner;

	if (!strcmp(what, "nop"))
		ask(tcs, OP_NOP, 0, 0, 0);
	if (!strcmp(what, "report"))
		ask(tcs, OP_EREPORT, (uint64_t)target, (uint64_t)data, (uint64_t)report);
	if (!strcmp(what, "ud2")) {
		expect_fault("#UD", attempt(tcs, &request, EENTER), ERESUME, 6, 0, 0);
		expect_exit("skip it", attempt(tcs, &skip, EENTER));
		expect_exit("go on", attempt(tcs, &request, ERESUME));
	}
	if (!strcmp(what, "interrupt")) {
		spinner_start(&spinner, tcs);
		pthread_kill(spinner.thread, SIGUSR1);
		spinner.stop = 1;
		spinner_join(&spinner);
	}
	if (!strcmp(what, "augment"))
		ask(tcs, OP_EACCEPT, (uint64_t)enclave.base + enclave.spare + i * PAGE, PT_REG_FLAGS | 3 | 8, 0);
	if (!strcmp(what, "enclave")) {
		struct enclave another;

		enclave_load(&another, NULL);
		enclave_unload(&another);
	}
}

int main(int argc, char **argv)
{
	struct enclave_options options = { .spare_pages = 64 };
	uint64_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

	if (!strcmp(argv[1], "heap"))
		options.heap_pages = count;
	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	handle(SIGUSR1, on_usr1);
	ask(tcs, OP_NOP, 0, 0, 0);
	for (uint64_t i = 0; i < count; i++)
		once(argv[1], i);
	if (!strcmp(argv[1], "heap"))
		for (uint64_t i = 0; i < count; i++)
			ask(tcs, OP_WRITE, (uint64_t)enclave.base + enclave.heap + i * PAGE, i, 0);
	if (!strcmp(argv[1], "hang")) {
		printf("up\n");
		fflush(stdout);
		pause();
	}
	ok(true, "done");
	return done();
}
