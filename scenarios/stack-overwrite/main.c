#include "pair.h"

int main(void)
{
	struct step below[] = { { STEP_OVERWRITE, -4096, 0x5a, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct step above[] = { { STEP_OVERWRITE, 512, 0x5a, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair pair;

	must_start(runtime);
	pair = new_pair("only", runtime);
	ok_eq(pair_run(&pair, 0, below, NULL, 0), EFAULT, "an enclave that writes below RSP does no harm");
	ok_eq(pair.told.vector, 6, "its exception is told");
	pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0));
	ok_eq(pair_run(&pair, 0, above, NULL, 0), 0, "one that overwrites the frames of whoever entered it does no harm");
	finish();
}
