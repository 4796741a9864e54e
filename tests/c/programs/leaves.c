/* EENTER, AEX, ERESUME, EEXIT and EDECCSSA again and again, from as many threads as it is told, under a timer's signals if
   it is told to: what ERESUME gives back is what the AEX saved, and every result is right.  With a fourth argument the
   program has AVX state in use that the enclave has not, through all of that. */
#include "storm.h"

static __thread long lost;

static void use_avx(void)
{
	__asm__ volatile("vcmpps $15, %%ymm7, %%ymm7, %%ymm7" : : : "xmm7");	/* all ones */
}

static struct outcome through(void *tcs, struct request *request, unsigned int leaf)
{
	struct outcome outcome = attempt(tcs, request, leaf);
	uint64_t upper[2];

	if (before_vdso_call) {
		__asm__ volatile("vextractf128 $1, %%ymm7, %0" : "=m"(upper));
		lost += upper[0] != ~0ull || upper[1] != ~0ull;
	}
	return outcome;
}

static long leaves(void *tcs, uint64_t index, uint64_t i)
{
	uint64_t seed = (index << 32) + i + 1;
	struct state in, out = { 0 };
	struct request state = { .op = OP_STATE, .a = (uint64_t)&in, .c = (uint64_t)&out };
	struct request fix = { .op = OP_FIX_RIP, .a = 2 }, ud2 = { .op = OP_UD2 }, drop = { .op = OP_EDECCSSA };
	long bad;

	memset(&in, 0, sizeof in);
	for (int n = 0; n < 16; n++) {
		in.gpr[n] = seed = checksum_round(seed);
		memset(in.vector[n], seed, 16);
	}
	in.gpr[4] = in.gpr[6] = 0;	/* RSP, and where the enclave looks whether to go on */
	in.x87 = seed & 0xffff;
	bad = through(tcs, &state, EENTER).vector != 6;
	bad += through(tcs, &fix, EENTER).function != EEXIT || fix.cssa != 1;
	bad += through(tcs, &state, ERESUME).function != EEXIT;
	bad += memcmp(&in, &out, sizeof in) != 0;
	bad += through(tcs, &ud2, EENTER).vector != 6;
	bad += through(tcs, &drop, EENTER).function != EEXIT || drop.cssa != 1;
	return bad + lost;
}

int main(int argc, char **argv)
{
	if (argc > 4)
		before_vdso_call = use_avx;
	return storm(argc, argv, 100, leaves);
}
