#include "enclaves/basic.h"
#include "scenario.h"

enum { ROWS = 23, COLUMNS = 3 };

static const char *const gpr_names[] = {
	"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
};
static const int callee_saved[] = { 3, 4, 5, 12, 13, 14, 15 };
static const char *const columns[COLUMNS] = { "EEXIT", "an exception", "one with AVX" };

static struct { const char *name; const char *became[COLUMNS]; } table[ROWS];
static unsigned int rows;

/* What became of `size` bytes. */
static const char *compare(const void *before, const void *after, size_t size)
{
	const uint8_t *bytes = after;

	if (!memcmp(before, after, size))
		return "kept";
	while (size && !bytes[size - 1])
		size--;
	return size ? "changed" : "zero";
}

static void row(unsigned int column, const char *name, const char *became)
{
	table[rows].name = name;
	table[rows++].became[column] = became;
}

static void fill_column(unsigned int column, const struct sgx_runtime *runtime)
{
	const struct sgx_registers *before = runtime->before, *after = runtime->after;
	uint64_t status = 0x8d5, changed = before->rflags ^ after->rflags;

	rows = 0;
	for (int i = 0; i < 16; i++)
		row(column, gpr_names[i], compare(&before->gpr[i], &after->gpr[i], 8));
	row(column, "status flags", !(changed & status) ? "kept" : after->rflags & status ? "changed" : "zero");
	row(column, "DF", changed & 0x400 ? "changed" : "kept");
	row(column, "MXCSR", compare(before->fxsave + 24, after->fxsave + 24, 4));
	row(column, "x87 control", compare(before->fxsave, after->fxsave, 2));
	row(column, "x87 stack", compare(before->fxsave + 32, after->fxsave + 32, 128));
	row(column, "XMM", compare(before->fxsave + 160, after->fxsave + 160, 256));
	row(column, "YMM, upper halves", compare(before->ymm_high, after->ymm_high, 256));
}

static bool kept(unsigned int column, int index)
{
	return !strcmp(table[index].became[column], "kept");
}

/* The callee-saved registers that an entry loses. */
static void expect_callee_saved(unsigned int column)
{
	char lost[64] = "";

	for (size_t i = 0; i < sizeof(callee_saved) / sizeof(callee_saved[0]); i++)
		if (!kept(column, callee_saved[i]))
			sprintf(lost + strlen(lost), " %s", gpr_names[callee_saved[i]]);
	ok(!lost[0], "after %s a C caller's general registers survive%s%s%s", columns[column], lost[0] ? " (lost:" : "", lost,
	   lost[0] ? ")" : "");
}

static void print_table(void)
{
	note("%-18s%-10s%-14s%s", "register", columns[0], columns[1], columns[2]);
	for (unsigned int i = 0; i < ROWS; i++)
		note("%-18s%-10s%-14s%s", table[i].name, table[i].became[0], table[i].became[1], table[i].became[2]);
}

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("probe");
	struct step leave[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	struct step fault[] = { { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_enclave sse, avx;

	must_start(runtime);
	must_load(runtime, &sse, "enclaves/basic.elf");
	must_load(runtime, &avx, "registers/avx.elf");
	ok_eq(runtime->call(&sse, sgx_tcs(&sse, 0), BASIC_RUN, leave, NULL, NULL, NULL), 0, "an ECALL that exits");
	fill_column(0, runtime);
	ok_eq(runtime->call(&sse, sgx_tcs(&sse, 0), BASIC_RUN, fault, NULL, NULL, NULL), EFAULT, "one with an exception");
	fill_column(1, runtime);
	ok_eq(runtime->call(&avx, sgx_tcs(&avx, 0), BASIC_RUN, fault, NULL, NULL, NULL), EFAULT, "and in an enclave with AVX");
	fill_column(2, runtime);
	print_table();
	for (unsigned int i = 0; i < COLUMNS; i++)
		expect_callee_saved(i);
	works("general registers survive; an exception leaves MXCSR %s, x87 control %s", table[18].became[1], table[19].became[1]);
}
