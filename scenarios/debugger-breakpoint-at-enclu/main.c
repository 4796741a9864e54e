#include "pair.h"

#include "../debugger/debugger.h"

/* Where the runtime's ENCLU is: a debugger finds it by stepping. */
static uint8_t *find_enclu(struct pair *pair)
{
	struct step steps[] = { { STEP_END, 0, 0, 0 } };

	STEP_ON();
	pair_run(pair, 0, steps, NULL, 0);
	STEP_OFF();
	return debugger.enclu;
}

int main(void)
{
	struct step steps[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair pair;
	uint8_t *enclu;

	must_start(runtime);
	pair = new_pair("only", runtime);
	debugger_start(pair.enclave.base, pair.enclave.size);
	enclu = find_enclu(&pair);
	ok(enclu != NULL, "the debugger finds the ENCLU");
	ok(pair_fault(&pair, 0), "an exception without a breakpoint is told");
	debugger_break(enclu, true);
	ok_eq(pair_run(&pair, 0, steps, NULL, 0), 0, "an ECALL with a breakpoint on its ENCLU");
	ok_eq(debugger.breakpoints, 1, "which is hit");
	ok_eq(*enclu, 0xcc, "and stays");
	ok_eq(steps[0].result, 42, "the ECALL goes on");
	ok(pair_fault(&pair, 0), "an exception with the breakpoint in place is told, too");
	finish();
}
