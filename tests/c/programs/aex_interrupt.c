/* A storm of timer signals interrupts a computing enclave; its result is right, its AEP ran. */
#include "enclave.h"

#include <sys/time.h>

static volatile int alarms;

static void on_alarm(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	alarms++;
}

int main(void)
{
	struct request request = { .op = OP_CHECKSUM, .a = 300000000, .b = 88172645463325252 };
	struct itimerval timer = { { 0, 2000 }, { 0, 2000 } }, none = { 0 };
	uint64_t want = request.b;
	struct enclave enclave;
	struct raw_fault fault;

	enclave_load(&enclave, NULL);
	handle(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	ok_eq(raw_enter_count(EENTER, enclave_tcs(&enclave, 0), &request, &fault), RAW_EXITED, "exited");
	setitimer(ITIMER_REAL, &none, NULL);
	for (uint64_t i = 0; i < request.a; i++)
		want = checksum_round(want);
	ok_eq(request.result, want, "result");
	ok(alarms >= 10, "signals came: %d", alarms);
	ok(raw_aex_count >= 10, "AEXs: %llu", (unsigned long long)raw_aex_count); /* on a busy machine, many come at the AEP */
	return done();
}
