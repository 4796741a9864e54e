/* EENTER, AEX, ERESUME, EEXIT and EDECCSSA again and again, from as many threads as it is told, under a timer's signals if
   it is told to: what ERESUME gives back is what the AEX saved, and every result is right.  With a fourth argument the
   program has AVX and AVX-512 state in use that the enclave has not, through all of that; if it is "beside", the enclave
   has AVX. */
#include "storm.h"

static __thread long lost;
static bool avx512;

static void use_zmm(void)
{
	__asm__ volatile("vpternlogd $255, %%zmm7, %%zmm7, %%zmm7; vpternlogd $255, %%zmm23, %%zmm23, %%zmm23;"
			 "kxnorw %%k1, %%k1, %%k1" : : : "xmm7");	/* all ones */
}

static void use_avx(void)
{
	if (avx512)
		use_zmm();
	else
		__asm__ volatile("vcmpps $15, %%ymm7, %%ymm7, %%ymm7" : : : "xmm7");
}

static struct outcome through(void *tcs, struct request *request, unsigned int leaf)
{
	struct outcome outcome = attempt(tcs, request, leaf);
	uint64_t upper[14], *mine = upper;

	if (!before_vdso_call)
		return outcome;
	memset(upper, 0xff, sizeof upper);
	__asm__ volatile("vextractf128 $1, %%ymm7, %0" : "=m"(*(uint8_t (*)[16])upper));
	if (avx512)
		__asm__ volatile("vextractf64x4 $1, %%zmm7, 16(%0); vmovdqu64 %%zmm23, 48(%0)" : : "r"(upper) : "memory");
	if (storm_options)
		mine += 2; /* the enclave has AVX: after an AEX it is synthetic */
	for (; mine < upper + 14; mine++)
		lost += *mine != ~0ull;
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
	static const struct enclave_options with_avx = { .xfrm = 7 };

	avx512 = __builtin_cpu_supports("avx512f");
	if (argc > 4)
		before_vdso_call = use_avx;
	if (argc > 4 && !strcmp(argv[4], "beside"))
		storm_options = &with_avx;
	return storm(argc, argv, 100, leaves);
}
