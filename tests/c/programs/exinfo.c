/* MISCSELECT.EXINFO: a handler in the enclave learns of #PF and #GP, too; of others, as ever, by EXITINFO alone. */
#include "enclave.h"

static struct enclave enclave;

static struct request expect(const char *name, struct request request, int vector, uint32_t exitinfo)
{
	struct request fix = { .op = OP_FIX_RIP };
	void *tcs = enclave_tcs(&enclave, 0);

	printf("# %s\n", name);
	ok_eq(attempt(tcs, &request, EENTER).vector, vector, "vector");
	attempt(tcs, &fix, EENTER);
	ok_eq(fix.exitinfo, exitinfo, "EXITINFO");
	drop_frame(tcs);
	return fix;
}

int main(void)
{
	struct enclave_options options = { .miscselect = 1 };
	struct request frame, write = { .op = OP_WRITE };

	enclave_load(&enclave, &options);
	write.a = (uint64_t)enclave.base + enclave.text + 0x123;
	frame = expect("#PF", write, 14, 0x8000030e);
	ok_eq(frame.exinfo_address, write.a, "MADDR: the whole address");
	ok_eq(frame.exinfo_error, 7, "ERRCD");
	frame = expect("#UD", (struct request){ .op = OP_UD2 }, 6, 0x80000306);
	ok_eq(frame.exinfo_address, write.a, "EXINFO is left alone");
	frame = expect("#GP", (struct request){ .op = OP_GP }, 13, 0x8000030d);
	ok_eq(frame.exinfo_address, 0, "MADDR is cleared");
	ok_eq(frame.exinfo_error, 0, "ERRCD");
	return done();
}
