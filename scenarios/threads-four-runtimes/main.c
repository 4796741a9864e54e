#include "threads.h"

int main(void)
{
	static const char *const names[THREADS] = { "a", "b", "c", "d" };
	static const unsigned int tcs[THREADS];
	struct pair pairs[THREADS];

	for (int i = 0; i < THREADS; i++) {
		struct sgx_runtime *runtime = open_runtime(names[i]);

		refused_if(runtime->start(), "starting runtime %s", names[i]);
		pairs[i] = new_pair(names[i], runtime);
	}
	run_threads(pairs, tcs);
	finish();
}
