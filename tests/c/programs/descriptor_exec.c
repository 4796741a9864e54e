/* A descriptor that stays open over exec: the new image maps its enclave again, and enters. */
#include "enclave.h"

int main(int argc, char **argv)
{
	struct request request = { .op = OP_ADD, .a = 40, .b = 2 };
	struct enclave enclave;
	char place[5][24], *arguments[7] = { argv[0] };
	uint64_t end;

	if (argc == 1) {
		enclave_load(&enclave, NULL);
		ask(enclave_tcs(&enclave, 0), OP_NOP, 0, 0, 0);
		fcntl(enclave.fd, F_SETFD, 0);
		snprintf(place[0], 24, "%d", enclave.fd);
		snprintf(place[1], 24, "%lu", (unsigned long)enclave.base);
		snprintf(place[2], 24, "%lu", enclave.text);
		snprintf(place[3], 24, "%lu", enclave.data);
		snprintf(place[4], 24, "%lu", enclave.heap);
		for (int i = 0; i < 5; i++)
			arguments[i + 1] = place[i];
		execv("/proc/self/exe", arguments);
		return 1;
	}
	enclave.fd = atoi(argv[1]);
	enclave.base = (void *)strtoul(argv[2], NULL, 10);
	enclave.text = strtoul(argv[3], NULL, 10);
	enclave.data = strtoul(argv[4], NULL, 10);
	end = strtoul(argv[5], NULL, 10);
	ok_eq(enclave_init(&enclave) ? errno : 0, EINVAL, "INIT: it is initialised already");
	ok(mmap(enclave.base, enclave.text, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, enclave.fd, 0) ==
	   enclave.base, "the TCSes mapped");
	mmap(enclave.base + enclave.text, enclave.data - enclave.text, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE,
	     enclave.fd, 0);
	mmap(enclave.base + enclave.data, end - enclave.data, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, enclave.fd, 0);
	expect_exit("entered", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	ok_eq(request.result, 42, "result");
	return done();
}
