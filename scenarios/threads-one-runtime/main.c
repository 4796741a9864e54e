#include "threads.h"

int main(void)
{
	static const unsigned int tcs[THREADS] = { 0, 1, 2, 3 };
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair pairs[THREADS];

	must_start(runtime);
	pairs[0] = new_pair("shared", runtime);
	for (int i = 1; i < THREADS; i++)
		pairs[i] = pairs[0];
	run_threads(pairs, tcs);
	finish();
}
