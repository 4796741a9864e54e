/* CPUSVN is what it is told to be, in reports and keys: older ones can be asked for, newer ones not. */
#include "enclave.h"

enum { SEAL_KEY = 4, SGX_INVALID_CPUSVN = 32 };
static struct { uint16_t name, policy, isvsvn, reserved; uint8_t cpusvn[16], rest[488]; } keyrequest
	__attribute__((aligned(512)));
static struct { uint8_t mrenclave[32], rest[480]; } targetinfo __attribute__((aligned(512)));

static uint64_t key(void *tcs, int svn, uint8_t out[16])
{
	keyrequest.name = SEAL_KEY;
	keyrequest.policy = 2;
	memset(keyrequest.cpusvn, svn, 16);
	return ask(tcs, OP_EGETKEY, (uint64_t)&keyrequest, 0, (uint64_t)out);
}

int main(int argc, char **argv)
{
	static uint8_t report[512] __attribute__((aligned(512))), data[64] __attribute__((aligned(128)));
	uint8_t now[16], older[16];
	struct enclave enclave;
	int svn = atoi(argv[argc - 1]);
	void *tcs;

	enclave_load(&enclave, NULL);
	tcs = enclave_tcs(&enclave, 0);
	ask(tcs, OP_EREPORT, (uint64_t)&targetinfo, (uint64_t)data, (uint64_t)report);
	ok_eq(report[0], svn, "CPUSVN in a report");
	ok_eq(report[15], svn, "to its end");
	ok_eq(key(tcs, svn, now), 0, "a key for it");
	ok_eq(key(tcs, svn - 1, older), 0, "and for an older one");
	ok(memcmp(now, older, 16), "which is another");
	ok_eq(key(tcs, svn + 1, now), SGX_INVALID_CPUSVN, "but none for a newer one");
	return done();
}
