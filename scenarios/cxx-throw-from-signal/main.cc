#include "enclaves/basic.h"
#include "scenario.h"

#include <csignal>
#include <pthread.h>
#include <sched.h>

namespace {

enum { TIMES = 10 };

struct TimeLimit {};

sgx_runtime *runtime;
sgx_enclave enclave;
uint32_t started, stop;

void on_signal(int)
{
	throw TimeLimit();
}

void *interrupt(void *thread)
{
	for (int i = 0; i < TIMES; i++) {
		while (!__atomic_exchange_n(&started, 0, __ATOMIC_ACQUIRE))
			sched_yield();
		pthread_kill(*static_cast<pthread_t *>(thread), SIGUSR1);
	}
	return nullptr;
}

int spin()
{
	step steps[] = { { STEP_SPIN, reinterpret_cast<uint64_t>(&stop), reinterpret_cast<uint64_t>(&started), 0 },
		{ STEP_END, 0, 0, 0 } };

	return runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, steps, nullptr, nullptr, nullptr);
}

/* The signal stays blocked when its handler is left so. */
void unblock()
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

} // namespace

int main()
{
	step fault[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	pthread_t thread, self = pthread_self();
	sgx_exception exception = {};
	unsigned int caught = 0, given_up = 0;

	runtime = open_runtime("a");
	must_start(runtime);
	must_load(runtime, &enclave, "enclaves/basic.elf");
	signal(SIGUSR1, on_signal);
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, fault, nullptr, nullptr, &exception), EFAULT, "an exception");
	ok_eq(runtime->reset(&enclave, sgx_tcs(&enclave, 0)), 0, "the enclave gives up");
	pthread_create(&thread, nullptr, interrupt, &self);
	for (int i = 0; i < TIMES; i++) {
		try {
			spin();
		} catch (const TimeLimit &) {
			caught++;
		}
		unblock();
		given_up += runtime->reset(&enclave, sgx_tcs(&enclave, 0)) == 0;
	}
	pthread_join(thread, nullptr);
	ok_eq(caught, TIMES, "every ECALL ends by the time limit");
	ok_eq(given_up, TIMES, "and the enclave gives up");
	exception.vector = 0;
	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 0), BASIC_RUN, fault, nullptr, nullptr, &exception), EFAULT, "an exception");
	ok_eq(exception.vector, 6, "is told as always");
	finish();
}
