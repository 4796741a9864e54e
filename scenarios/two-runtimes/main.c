#include "pair.h"

int main(void)
{
	struct sgx_runtime *a = open_runtime("a"), *b = open_runtime("b");
	struct pair first, second;

	must_start(a);
	first = new_pair("first", a);
	ok(pair_fault(&first, 0), "alone, the first host is told of its exception");
	refused_if(b->start(), "starting the second runtime");
	second = new_pair("second", b);
	ok(pair_fault(&second, 0), "the second host is told of its exception");
	ok_eq(first.times, 1, "the first host is not told of it");
	ok(pair_fault(&first, 0), "the first host is told of its exception");
	ok_eq(second.times, 1, "the second host is not told of it");
	ok(pair_fault(&second, 1), "the second host again");
	ok(pair_fault(&first, 1), "the first host again");
	finish();
}
