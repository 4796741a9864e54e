/* AEX-Notify: ERESUME enters anew, with the next SSA frame, where TCS and interrupted frame have AEXNOTIFY. */
#include "enclave.h"

#include <cpuid.h>

enum { GPRSGX_EXITINFO = 4096 - 184 + 160, BASES = 4096 - 184 + 168 };
static const struct enclave_options notified = { .attributes = ATTRIBUTE_AEXNOTIFY, .tcs_flags = TCS_AEXNOTIFY };

/* GPRSGX.AEXNOTIFY of a frame: the whole byte.  The enclave alone can write there. */
static void set(const struct enclave *enclave, int frame, uint64_t aexnotify)
{
	ask(enclave_tcs(enclave, 0), OP_WRITE, (uint64_t)enclave_ssa(enclave, 0, frame) + GPRSGX_EXITINFO, aexnotify << 56, 0);
}

static struct outcome enter(uint64_t attributes, uint64_t tcs_flags, unsigned int leaf)
{
	struct enclave_options options = { .attributes = attributes, .tcs_flags = tcs_flags };
	struct request nop = { .op = OP_NOP };
	struct outcome outcome;
	struct enclave enclave;

	enclave_load(&enclave, &options);
	outcome = attempt(enclave_tcs(&enclave, 0), &nop, leaf);
	enclave_unload(&enclave);
	return outcome;
}

int main(void)
{
	struct request ud2 = { .op = OP_UD2 }, nop = { .op = OP_NOP }, handler = { .op = OP_NOP }, fix = { .op = OP_FIX_RIP };
	struct request drop = { .op = OP_EDECCSSA };
	unsigned int eax, ebx, ecx, edx;
	struct enclave enclave;
	void *tcs;

	__cpuid_count(0x12, 1, eax, ebx, ecx, edx);
	ok_eq(eax & ATTRIBUTE_AEXNOTIFY, ATTRIBUTE_AEXNOTIFY, "CPUID offers it");
	expect_fault("a TCS with it, an enclave without", enter(0, TCS_AEXNOTIFY, EENTER), EENTER, 13, 0, 0);
	expect_fault("an enclave with it, a TCS without", enter(ATTRIBUTE_AEXNOTIFY, 0, EENTER), EENTER, 13, 0, 0);

	enclave_load(&enclave, &notified);
	tcs = enclave_tcs(&enclave, 0);
	expect_fault("an exception", attempt(tcs, &ud2, EENTER), ERESUME, 6, 0, 0);
	fix.a = 2;
	expect_exit("its handler", attempt(tcs, &fix, EENTER));
	expect_exit("is resumed: the frame does not have AEXNOTIFY", attempt(tcs, &nop, ERESUME));
	ok_eq(ud2.cssa, 0, "at CSSA 0");

	set(&enclave, 0, 0xfe);
	attempt(tcs, &ud2, EENTER);
	attempt(tcs, &fix, EENTER);
	expect_exit("bits of the byte but the first mean nothing", attempt(tcs, &nop, ERESUME));

	set(&enclave, 0, 1);
	expect_fault("an exception with AEXNOTIFY", attempt(tcs, &ud2, EENTER), ERESUME, 6, 0, 0);
	handler.cssa = 99;
	expect_exit("ERESUME enters anew", attempt(tcs, &handler, ERESUME));
	ok_eq(handler.cssa, 1, "at the next frame");
	expect_exit("and again", attempt(tcs, &fix, ERESUME));
	ok_eq(fix.cssa, 1, "for what was interrupted is still in its own");
	ok_eq(fix.exitinfo, 0x80000306, "with its exception");
	set(&enclave, 0, 0);
	expect_exit("which is resumed when it has AEXNOTIFY no more", attempt(tcs, &nop, ERESUME));

	set(&enclave, 0, 1);
	attempt(tcs, &ud2, EENTER);
	expect_exit("a notified thread gives the frame up", attempt(tcs, &drop, ERESUME));
	expect_exit("entered", attempt(tcs, &nop, EENTER));
	ok_eq(nop.cssa, 0, "at CSSA 0");

	set(&enclave, 2, 1);
	for (int frame = 0; frame < TEST_SSA_FRAMES; frame++)
		attempt(tcs, &ud2, EENTER);
	expect_fault("no frame is left to be notified in", attempt(tcs, &nop, ERESUME), ERESUME, 13, 0, 0);
	return done();
}
