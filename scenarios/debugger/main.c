#include "pair.h"

#include "debugger.h"

#include <signal.h>

static struct pair pair;

#define BREAK() __asm__ volatile("int3")

static void expect_int3(const char *where)
{
	unsigned int before = debugger.breakpoints;

	BREAK();
	ok_eq(debugger.breakpoints, before + 1, "%s: INT3 is SIGTRAP", where);
}

static uint64_t in_ocall(void *context, void *argument)
{
	(void)context;
	if (argument)
		expect_int3("in an OCALL");
	return 0;
}

static const sgx_ocall ocalls[] = { in_ocall };

static enum sgx_decision break_in_decision(void *context, const struct sgx_exception *exception)
{
	expect_int3("in the host's decision about an exception");
	return pair_exception(context, exception);
}

static void expect_int3s(void)
{
	struct step steps[] = { { STEP_OCALL, 0, 1, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { ocalls, 1, break_in_decision, &pair };

	expect_int3("in the program");
	ok_eq(pair.runtime->call(&pair.enclave, sgx_tcs(&pair.enclave, 0), BASIC_RUN, steps, &host, NULL, NULL), EFAULT,
	      "an ECALL with an OCALL and an exception");
	ok_eq(pair.times, 1, "whose host is told of that and nothing else");
	ok_eq(pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "the enclave gives up");
}

static void expect_int3_inside(void)
{
	struct step steps[] = { { STEP_BP, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	unsigned int before = debugger.breakpoints;

	ok_eq(pair_run(&pair, 0, steps, NULL, 0), EFAULT, "an ECALL that executes INT3");
	ok_eq(pair.told.vector, 6, "whose host is told of #UD");
	ok_eq(debugger.breakpoints, before, "the debugger is not");
	ok_eq(pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "the enclave gives up");
}

static void expect_steps(void)
{
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_OCALL, 0, 0, 0 }, { STEP_ADD, 1, 1, 0 }, { STEP_END, 0, 0, 0 } };
	int error;

	debugger = (struct debugger){ 0 };
	STEP_ON();
	error = pair_run(&pair, 0, steps, ocalls, 1);
	STEP_OFF();
	ok_eq(error, 0, "an ECALL with an OCALL, stepped through");
	ok(debugger.steps > 100, "instruction by instruction");
	ok_eq(debugger.enclus, 2, "with two ENCLU");
	ok_eq(debugger.behind, 2, "each of which is one step, to where EEXIT goes");
	ok(!debugger.inside && !debugger.breakpoints && !debugger.others, "no step is in the enclave");
	ok(steps[0].result == 42 && steps[2].result == 2, "which works as ever");
}

static void expect_steps_through_exception(void)
{
	struct step steps[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	unsigned int times = pair.times, before;
	int error;

	debugger = (struct debugger){ 0 };
	STEP_ON();
	error = pair_run(&pair, 0, steps, NULL, 0);
	STEP_OFF();
	before = debugger.steps;
	ok_eq(error, EFAULT, "an ECALL with an exception, stepped through");
	ok_eq(pair.times, times + 1, "whose host is told once");
	ok_eq(pair.told.vector, 6, "and of #UD");
	ok(before > 100, "instruction by instruction, before and after");
	ok(!debugger.inside && !debugger.breakpoints && !debugger.others, "no step is in the enclave");
	ok_eq(pair.runtime->reset(&pair.enclave, sgx_tcs(&pair.enclave, 0)), 0, "the enclave gives up");
	ok_eq(debugger.steps, before, "and the debugger has stopped stepping");
}

static void expect_breakpoint(uint8_t *enclu)
{
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	unsigned int times = pair.times;

	debugger = (struct debugger){ 0 };
	debugger_break(enclu, false);
	ok_eq(pair_run(&pair, 0, steps, NULL, 0), 0, "an ECALL with a breakpoint on its ENCLU");
	ok_eq(debugger.breakpoints, 1, "which is hit");
	ok_eq((uint64_t)debugger.last, (uint64_t)enclu, "there");
	ok_eq(debugger.rax, EENTER, "before the enclave is entered");
	ok_eq(pair.times, times, "the host is told of nothing");
	ok_eq(steps[0].result, 42, "and the ECALL goes on");
	ok(pair_fault(&pair, 0), "exceptions are told as ever");
}

static int without_debugger(void)
{
	signal(SIGTRAP, SIG_DFL);
	must_start(open_runtime("a"));
	BREAK();
	return 0;
}

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	uint8_t *enclu;

	ok(!strcmp(in_child(without_debugger), "killed by SIGTRAP"), "without a debugger, INT3 is the end");
	must_start(runtime);
	pair = new_pair("only", runtime);
	debugger_start(pair.enclave.base, pair.enclave.size);
	expect_int3s();
	expect_int3_inside();
	expect_steps();
	enclu = debugger.enclu;
	expect_steps_through_exception();
	expect_breakpoint(enclu);
	finish();
}
