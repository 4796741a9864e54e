#include "pair.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

/* Reads a null pointer at handler_load, and goes on at handler_next if somebody sees to it. */
static void read_null(void)
{
	__asm__ volatile("handler_load: mov (%0), %0; handler_next:" : : "r"(0ul) : "memory");
}
extern uint8_t handler_load[], handler_next[];

static struct pair pair;
static struct sgx_exception told[8];
static unsigned int exceptions, signals;
static uint64_t signal_rip;

static void on_segv(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo, (void)info;
	signals++;
	signal_rip = registers[REG_RIP];
	registers[REG_RIP] = (greg_t)handler_next;
}

static void tell(const struct sgx_exception *exception)
{
	if (exceptions < 8)
		told[exceptions] = *exception;
	exceptions++;
}

static void expect_told(unsigned int index, uint32_t leaf, uint16_t vector, const char *what)
{
	ok_eq(told[index].leaf, leaf, "%s: the leaf", what);
	ok_eq(told[index].vector, vector, "%s: the vector", what);
}

static int run(enum sgx_decision (*decide)(void *, const struct sgx_exception *), struct step *steps, unsigned int tcs)
{
	struct sgx_host host = { .exception = decide };

	exceptions = 0;
	return pair.runtime->call(&pair.enclave, sgx_tcs(&pair.enclave, tcs), BASIC_RUN, steps, &host, NULL, NULL);
}

static enum sgx_decision fault_and_fail(void *context, const struct sgx_exception *exception)
{
	(void)context;
	tell(exception);
	read_null();
	return SGX_FAIL;
}

/* Its null pointer is no exception of ENCLU or an enclave, and belongs to the program. */
static void fault_outside(void)
{
	struct step steps[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };

	ok_eq(run(fault_and_fail, steps, 0), EFAULT, "a handler that faults, and goes on: the ECALL fails as it decides");
	expect_told(0, ERESUME, 6, "the enclave's exception");
	ok_eq(exceptions, 1, "the handler's own is not told to itself");
	ok_eq(signals, 1, "but to the program");
	ok_eq(signal_rip, (uint64_t)handler_load, "at the handler's instruction");
	ok_eq(pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "the enclave gives up");
}

static int without_program_handler(void)
{
	signal(SIGSEGV, SIG_DFL);
	pair = new_pair("child's", pair.runtime);
	must_start(pair.runtime);
	fault_outside();
	return 0;
}

static void protect(int prot)
{
	mprotect(sgx_tcs(&pair.enclave, 1), SGX_PAGE, prot);
}

/* Has the enclave handle its exception, and makes that EENTER fault. */
static enum sgx_decision fault_at_eenter(void *context, const struct sgx_exception *exception)
{
	(void)context;
	tell(exception);
	protect(exceptions == 1 ? PROT_NONE : PROT_READ | PROT_WRITE);
	return exceptions == 1 ? SGX_HANDLE : SGX_RESUME;
}

/* Makes the ERESUME fault that shall lead back. */
static enum sgx_decision fault_at_eresume(void *context, const struct sgx_exception *exception)
{
	(void)context;
	tell(exception);
	switch (exceptions) {
	case 1:
		protect(PROT_NONE);
		return SGX_RESUME;
	case 2:
		protect(PROT_READ | PROT_WRITE);
		return SGX_RESUME;
	default:
		return SGX_HANDLE;
	}
}

int main(void)
{
	struct step steps[] = { { STEP_UD, 0, 0, 0 }, { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	const char *ended;
	int error;

	pair.runtime = open_runtime("a");
	ended = in_child(without_program_handler);
	ok(!strcmp(ended, "killed by SIGSEGV"), "where the program has no handler for it, a handler's fault ends it");
	sigaction(SIGSEGV, &action, NULL);
	must_start(pair.runtime);
	pair = new_pair("only", pair.runtime);
	fault_outside();

	error = run(fault_at_eenter, steps, 1);
	expect_told(0, ERESUME, 6, "before re-entering");
	expect_told(1, EENTER, 14, "re-entering faults");
	ok_eq(told[1].address, (uint64_t)sgx_tcs(&pair.enclave, 1), "re-entering faults: the address");
	refused_if(error, "resuming after that");
	ok_eq(exceptions, 2, "the enclave handles its exception at the second try");
	ok_eq(steps[0].result, STEP_HANDLED | 6, "and knows of its own only");
	ok_eq(steps[1].result, 42, "and goes on");

	ok_eq(run(fault_at_eresume, steps, 1), 0, "the ECALL succeeds though ERESUME has faulted");
	expect_told(1, ERESUME, 14, "resuming faults");
	ok_eq(told[1].address, (uint64_t)sgx_tcs(&pair.enclave, 1), "resuming faults: the address");
	expect_told(2, ERESUME, 6, "resumed without repair, the enclave faults again");
	ok_eq(exceptions, 3, "and no more");
	ok_eq(signals, 1, "no signal to the program");
	finish();
}
