/* Nothing but arithmetic. Argument: rounds, in millions. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	uint64_t x = 88172645463325252;

	for (uint64_t i = (argc > 1 ? strtoull(argv[1], NULL, 0) : 5000) * 1000000; i; i--) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	printf("%#llx\n", (unsigned long long)x);
	return 0;
}
