/* A difference from hardware, which raises #UD: AVX instructions run in an enclave whose XFRM does not have AVX. */
#include "enclave.h"

int main(void)
{
	static struct state in, out;
	uint32_t go = 1;
	struct request request = { .op = OP_STATE, .a = (uint64_t)&in, .b = (uint64_t)&go, .c = (uint64_t)&out, .d = 1 };
	struct enclave_options options = { .xfrm = 3 };
	struct enclave enclave;

	if (!__builtin_cpu_supports("avx")) {
		ok(true, "# SKIP this processor has no AVX");
		return done();
	}
	in.gpr[6] = (uint64_t)&go;
	memset(in.vector, 0x5a, sizeof(in.vector));
	enclave_load(&enclave, &options);
	expect_exit("XFRM 3", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	ok(!memcmp(in.vector, out.vector, sizeof(in.vector)), "the YMM registers work");
	return done();
}
