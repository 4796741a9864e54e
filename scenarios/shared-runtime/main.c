#include "pair.h"

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair first, second;

	must_start(runtime);
	first = new_pair("first", runtime);
	second = new_pair("second", runtime);
	for (unsigned int i = 1; i <= 3; i++) {
		ok(pair_fault(&first, i), "the first library is told of its exception");
		ok(pair_fault(&second, i), "the second library is told of its exception");
		ok_eq(first.times, i, "the first only of its own");
		ok_eq(second.times, i, "the second only of its own");
	}
	finish();
}
