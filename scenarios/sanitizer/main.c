#include "pair.h"

#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

/* LeakSanitizer traces the process, which nothing within `enclu run` can. */
#define OPTION_(name, value) name "=" #value ":"
#define OPTION(name, value) OPTION_(name, value)
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0:symbolize=0:abort_on_error=1:" OPTION("handle_segv", HANDLE_SEGV) OPTION("handle_sigill", HANDLE_SEGV)
	       OPTION("handle_sigbus", HANDLE_SEGV) OPTION("handle_sigfpe", HANDLE_SEGV);
}

static struct sgx_runtime *runtime;
static const char *wanted;	/* in children: of the report of their bug */
static char reported[32];
static bool other;

static void on_report(const char *report)
{
	sscanf(report, "%*[^A]AddressSanitizer: %31s", reported);
	other = wanted && !strstr(report, wanted);
}

/* The last word, and the same each time. */
static void on_death(void)
{
	dprintf(STDERR_FILENO, "AddressSanitizer has found a bug: %s\n", reported);
	if (other)
		_exit(1);
}

/* In children: the bugs. */

static void use_after_free(void)
{
	volatile char *volatile memory = malloc(16); /* The compiler is not to see through it. */

	free((void *)memory);
	memory[3] = 1;
}

static void wild_pointer(void)
{
	/* Not instrumented: the access itself faults. */
	__asm__ volatile("movl $1, (%0)" : : "r"(0x1234ul) : "memory");
}

/* It ends where *above is 0, which it never is. */
static __attribute__((noinline)) uint64_t overflow_stack(volatile uint64_t *above)
{
	volatile uint64_t here[64];

	here[0] = *above;
	return *above ? overflow_stack(here) + here[0] : 0;
}

static void stack_overflow(void)
{
	volatile uint64_t bottom = 1;

	overflow_stack(&bottom);
}

static const struct bug {
	const char *name, *report;
	void (*commit)(void);
} bugs[] = {
	{ "a use after free", "heap-use-after-free", use_after_free },
	{ "a wild pointer", "SEGV on unknown address 0x000000001234", wild_pointer },
	{ "a stack overflow", "stack-overflow", stack_overflow },
};
static const struct bug *bug;

static uint64_t commit_in_ocall(void *context, void *argument)
{
	(void)context, (void)argument;
	bug->commit();
	return 0;
}

/* Any other ends the child with 1.  What a child says on stderr is not what the program has died of. */
static void expect_report(void)
{
	wanted = bug->report;
	dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
}

static int in_program(void)
{
	expect_report();
	bug->commit();
	return 0;
}

static int in_ocall(void)
{
	static const sgx_ocall ocalls[] = { commit_in_ocall };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct pair pair = new_pair("the child's", runtime);

	expect_report();
	pair_run(&pair, 0, steps, ocalls, 1);
	return 0;
}

static void expect_bugs(void)
{
	for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++) {
		bug = &bugs[i];
		ok(!strcmp(in_child(in_program), "killed by SIGABRT"), "%s in the program is reported", bug->name);
		ok(!strcmp(in_child(in_ocall), "killed by SIGABRT"), "%s in an OCALL is reported", bug->name);
	}
}

static void expect_exception(struct pair *pair, struct step step, uint16_t vector, const char *name)
{
	struct step steps[] = { step, { STEP_END, 0, 0, 0 } };
	unsigned int before = pair->times;

	ok_eq(pair_run(pair, 0, steps, NULL, 0), EFAULT, "%s in the enclave ends its ECALL", name);
	ok(pair->times == before + 1 && pair->told.vector == vector, "and its host is told");
	ok_eq(runtime->reset(&pair->enclave, sgx_tcs(&pair->enclave, 0)), 0, "the enclave gives up");
}

static void expect_exceptions(struct pair *pair)
{
	expect_exception(pair, (struct step){ STEP_UD, 0, 0, 0 }, 6, "#UD");
	expect_exception(pair, (struct step){ STEP_READ, 8, 0, 0 }, 14, "a null pointer");
	expect_exception(pair, (struct step){ STEP_GP, 0, 0, 0 }, 13, "#GP");
	expect_exception(pair, (struct step){ STEP_DIVIDE, 1, 0, 0 }, 0, "#DE");
}

int main(void)
{
	struct pair pair;

	__asan_set_error_report_callback(on_report);
	__sanitizer_set_death_callback(on_death);
	runtime = open_runtime("a");
	must_start(runtime);
	pair = new_pair("only", runtime);
	expect_exceptions(&pair);
	expect_bugs();
	expect_exceptions(&pair);
	finish();
}
