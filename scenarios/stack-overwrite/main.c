#include "pair.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/auxv.h>
#include <ucontext.h>
#include <unistd.h>

static Dl_info runtime_object;

/* Tells whose instruction it was that came to grief, and lets it come to grief again. */
static void on_segv(int signo, siginfo_t *info, void *context)
{
	uint64_t rip = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
	const char *text = "at an instruction of somebody else\n";
	Dl_info object;

	(void)info;
	if (rip >= vdso && rip - vdso < 2 * SGX_PAGE)
		text = "at an instruction of the vDSO\n";
	else if (dladdr((void *)rip, &object) && object.dli_fbase == runtime_object.dli_fbase)
		text = "at an instruction of the runtime\n";
	if (write(2, text, strlen(text)) < 0)
		_exit(3);
	signal(signo, SIG_DFL);
}

static void tell_of_death(const struct sgx_runtime *runtime)
{
	static uint8_t stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	dladdr(runtime, &runtime_object);
	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

int main(void)
{
	struct step below[] = { { STEP_OVERWRITE, -4096, 0x5a, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct step above[] = { { STEP_OVERWRITE, 512, 0x5a, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair pair;

	tell_of_death(runtime);
	must_start(runtime);
	pair = new_pair("only", runtime);
	ok_eq(pair_run(&pair, 0, below, NULL, 0), EFAULT, "an enclave that writes below RSP does no harm");
	ok_eq(pair.told.vector, 6, "its exception is told");
	pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0));
	ok_eq(pair_run(&pair, 0, above, NULL, 0), 0, "one that overwrites the frames of whoever entered it does no harm");
	finish();
}
