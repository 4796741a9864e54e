/* Debug and production enclaves: /proc/self/mem, which has EDBGRD and EDBGWR behind it, and opting in. */
#include "conform.h"

#define ACCESS_SAYS "Linux sgx_vma_access()"
#define OPT_IN_SAYS "SDM 3D 40.2"

static long memory_file(uint64_t call, uint64_t offset, void *buffer, uint64_t size)
{
	long fd = call3(SYS_OPEN, (long)"/proc/self/mem", O_RDWR, 0), result;

	if (fd < 0)
		broken("/proc/self/mem: %e", fd);
	result = call6((long)call, fd, (long)buffer, (long)size, (long)place(offset), 0, 0);
	call3(SYS_CLOSE, fd, 0, 0);
	return result;
}

/* a: attributes; b: where. */
static void read_word(const struct claim *claim)
{
	uint64_t word = 0;
	long result;

	load((struct options){ .attributes = claim->a });
	result = memory_file(SYS_PREAD64, claim->b, &word, 8);
	if (result < 0)
		say("%e", result);
	else
		say("%d bytes, %x", (uint64_t)result, word);
}

static void read_place(const struct claim *claim)
{
	uint64_t offset = 0;

	load((struct options){ .attributes = claim->a });
	if (memory_file(SYS_PREAD64, claim->b, &offset, 8) == 8)
		say("%a", place(offset));
	else
		say("not read");
}

static void write_word(const struct claim *claim)
{
	uint64_t word = 0x1122334455667788, seen = 0;
	long result;

	load((struct options){ .attributes = claim->a });
	result = memory_file(SYS_PWRITE64, claim->b, &word, 8);
	if (result < 0) {
		say("%e", result);
		return;
	}
	copy_out(&seen, place(claim->b), 8);
	say("%d bytes, %x", (uint64_t)result, seen);
}

/* What an enclave opts in to by TCS.FLAGS.DBGOPTIN; a: the code; b: whether it does. */
static void opt(uint64_t in)
{
	uint64_t flags = in, seen = 0;
	long result = memory_file(SYS_PWRITE64, TCS0 + TCS_FLAGS, &flags, 8);

	if (result != 8)
		broken("EDBGWR of TCS.FLAGS: %e", result);
	if (memory_file(SYS_PREAD64, TCS0 + TCS_FLAGS, &seen, 8) != 8 || seen != in)
		broken("TCS.FLAGS is %x", seen);
}

static void opted(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ .attributes = DEBUG });
	if (claim->b)
		opt(1);
	outcome = run_code(claim->a, &request);
	say_outcome(&outcome);
	if (outcome.how == AEX)
		say(", signal %d", (uint64_t)outcome.signo);
}

static void opted_exitinfo(const struct claim *claim)
{
	struct request request = { 0 };
	struct gprsgx gprsgx;

	load((struct options){ .attributes = DEBUG });
	if (claim->b)
		opt(1);
	run_code(claim->a, &request);
	if (claim->b)
		opt(0);
	frame_of(0, &gprsgx, NULL);
	say("%x", (uint64_t)gprsgx.exitinfo);
}

/* A debug enclave as such: nothing else is otherwise than in another. */
static void enclave_runs(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ .attributes = claim->a });
	outcome = run_code(claim->b, &request);
	say_outcome(&outcome);
}

static const struct claim claims[] = {
	{ "a debug enclave's data is read", ACCESS_SAYS ": EDBGRD", "8 bytes, 0xc3c3c3c3c3c3c3c3", read_word, DEBUG, PAGE_RW, 0, 0 },
	{ "a debug enclave's data that is mapped without access is read", ACCESS_SAYS ": EDBGRD", "8 bytes, 0xc3c3c3c3c3c3c3c3", read_word, DEBUG, PAGE_NONE, 0, 0 },
	{ "a debug enclave's TCS is read: OSSA", ACCESS_SAYS ": EDBGRD", "ssa", read_place, DEBUG, TCS0 + 16, 0, 0 },
	{ "a debug enclave's TCS is read: FLAGS", ACCESS_SAYS ": EDBGRD", "8 bytes, 0x0", read_word, DEBUG, TCS0 + TCS_FLAGS, 0, 0 },
	{ "a debug enclave where no page is", ACCESS_SAYS ": sgx_encl_load_page()", "EIO", read_word, DEBUG, HOLE, 0, 0 },
	{ "a production enclave's data is not read", ACCESS_SAYS ": SGX_ENCL_DEBUG", "EIO", read_word, 0, PAGE_RW, 0, 0 },
	{ "a production enclave's TCS is not read", ACCESS_SAYS ": SGX_ENCL_DEBUG", "EIO", read_word, 0, TCS0, 0, 0 },
	{ "a production enclave's text is not read", ACCESS_SAYS ": SGX_ENCL_DEBUG", "EIO", read_word, 0, TEXT, 0, 0 },
	{ "a debug enclave's data is written", ACCESS_SAYS ": EDBGWR", "8 bytes, 0x1122334455667788", write_word, DEBUG, PAGE_RW, 0, 0 },
	{ "a production enclave's data is not written", ACCESS_SAYS ": SGX_ENCL_DEBUG", "EIO", write_word, 0, PAGE_RW, 0, 0 },
	{ "a debug enclave is entered", "SDM 3D 38.4 EENTER", "EEXIT", enclave_runs, DEBUG, AT_nothing, 0, 0 },
	{ "a debug enclave may not execute IN either", "SDM 3D table 36-1", "AEX: #UD", enclave_runs, DEBUG, AT_in_dx, 0, 0 },
	{ "INT3 in a debug enclave without opting in", OPT_IN_SAYS, "AEX: #UD, signal 4", opted, AT_int3, 0, 0, 0 },
	{ "INT3 in a debug enclave that has opted in", OPT_IN_SAYS, "AEX: #BP, signal 5", opted, AT_int3, 1, 0, 0 },
	{ "EXITINFO of INT3 without opting in", OPT_IN_SAYS, "0x80000306", opted_exitinfo, AT_int3, 0, 0, 0 },
	{ "EXITINFO of INT3 when opted in", OPT_IN_SAYS, "0x80000603", opted_exitinfo, AT_int3, 1, 0, 0 },
	{ "UD2 in a debug enclave that has opted in", OPT_IN_SAYS, "AEX: #UD, signal 4", opted, AT_ud2, 1, 0, 0 },
};
GROUP(debug_group, "debug", "what a debugger may see of debug and production enclaves, and opting in", claims);
