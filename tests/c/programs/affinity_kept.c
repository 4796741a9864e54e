/* A thread that the supervisor keeps beside itself for a while finds the processors that it may use unchanged. */
#include "enclave.h"

#include <sched.h>

static void call_often(struct enclave *enclave)
{
	for (int i = 0; i < 500; i++) {
		struct request request = { .op = OP_NOP };

		enclave_call(enclave_tcs(enclave, 0), &request, NULL);
	}
}

int main(void)
{
	cpu_set_t before, after, last;
	struct enclave enclave;
	pid_t child;
	int status;

	sched_getaffinity(0, sizeof(before), &before);
	enclave_load(&enclave, NULL);
	call_often(&enclave);
	sched_getaffinity(0, sizeof(after), &after);
	ok(CPU_EQUAL(&before, &after), "the same processors after many entries");

	call_often(&enclave);
	child = fork();
	if (!child) {
		sched_getaffinity(0, sizeof(after), &after);
		_exit(CPU_EQUAL(&before, &after) ? 0 : 1);
	}
	waitpid(child, &status, 0);
	ok_eq(status, 0, "and in a child");

	CPU_ZERO(&last);
	for (int i = CPU_SETSIZE - 1; i >= 0 && !CPU_COUNT(&last); i--)
		if (CPU_ISSET(i, &before))
			CPU_SET(i, &last);
	call_often(&enclave);
	ok_eq(sched_setaffinity(0, sizeof(last), &last), 0, "choose one");
	call_often(&enclave);
	sched_getaffinity(0, sizeof(after), &after);
	ok(CPU_EQUAL(&last, &after), "the choice lasts");
	return done();
}
