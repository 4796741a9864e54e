#include "emulated.h"
#include "scenario.h"

#include <cpuid.h>
#include <unistd.h>

static struct sgx_exception last;
static unsigned int told, ud;

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	(void)context;
	last = *exception;
	told++;
	ud += exception->leaf == ERESUME && exception->vector == 6 && exception->error_code == 0;
	return SGX_HANDLE;
}

static uint64_t ask_cpuid(void *context, void *argument)
{
	struct emulated *shared = argument;
	uint32_t a, b, c, d;

	(void)context;
	__cpuid_count(shared->ask[0], shared->ask[1], a, b, c, d);
	shared->ask[0] = a;
	shared->ask[1] = b;
	shared->ask[2] = c;
	shared->ask[3] = d;
	return 0;
}

static uint64_t make_syscall(void *context, void *argument)
{
	(void)context;
	return syscall(((struct emulated *)argument)->ask[0]);
}

int main(void)
{
	static const sgx_ocall ocalls[] = { ask_cpuid, make_syscall };
	struct sgx_host host = { ocalls, 2, on_exception, NULL };
	struct emulated found = { 0 }, here = { .ask = { 0x12, 0 } };
	struct sgx_runtime *runtime = open_runtime("a");
	struct sgx_exception exception = { 0 };
	struct sgx_enclave enclave;
	uint64_t emulated = 0;
	int error;

	must_start(runtime);
	must_load(runtime, &enclave, "emulated-instructions/emulated.elf");
	error = runtime->call(&enclave, sgx_tcs(&enclave, 0), EMULATED_RUN, &found, &host, &emulated, NULL);
	ok(told && ud == told, "the host is told of #UD, and of nothing else");
	refused_if(error, "resuming an enclave that has emulated an instruction");
	ok_eq(told, 3, "once for each instruction");
	ok_eq(emulated, 3, "each of which the enclave has emulated");
	ask_cpuid(NULL, &here);
	ok(found.cpuid[0] == here.ask[0] && found.cpuid[1] == here.ask[1] && found.cpuid[2] == here.ask[2] &&
	   found.cpuid[3] == here.ask[3], "CPUID inside tells what it tells outside");
	ok(found.cpuid[0] & 1, "namely that there is SGX");
	ok_eq(found.pid, getpid(), "SYSCALL inside makes the system call");
	ok_eq(found.port, 0xffffff00 | port_value(PORT), "IN inside reads what the enclave makes of the port");
	ok_eq(found.others_kept, 0x1122334455667788, "no other register has changed");

	ok_eq(runtime->call(&enclave, sgx_tcs(&enclave, 1), EMULATED_UNKNOWN, &found, &host, NULL, &exception), EFAULT,
	      "an instruction that stands for nothing ends the ECALL");
	ok_eq(exception.vector, 6, "with #UD");
	finish();
}
