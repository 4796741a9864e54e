/* TCS.FLAGS.DBGOPTIN, set by EDBGWR: INT3 and single-stepping in a debug enclave come to its debugger. */
#include "fault.h"

#define ATTRIBUTES_DEBUG 2
#define TF 0x100
#define EXITINFO_BP 0x80000603
#define EXITINFO_DB 0x80000301
#define GPRSGX_RIP 17

static struct enclave enclave;
static uint64_t gprsgx[23], first, last_inside;
static unsigned int traps, inside, outside_of_enclave, wrong;

static void opt(uint64_t in)
{
	ok_eq(enclave_access(&enclave, (uint8_t *)enclave_tcs(&enclave, 0) + 8, &in, 8, ENCLU_SGX_DEBUG_WRITE), 0, "FLAGS is written");
}

static void read_frame(void)
{
	wrong += enclave_access(&enclave, enclave_ssa(&enclave, 0, 0) + PAGE - sizeof(gprsgx), gprsgx, sizeof(gprsgx), 0) != 0;
}

static bool in_enclave(uint64_t rip)
{
	return rip - (uint64_t)enclave.base < enclave.size;
}

static void int3(void)
{
	struct request request = { .op = OP_INSTRUCTION, .a = INSN_INT3 };
	void *tcs = enclave_tcs(&enclave, 0);
	struct raw_fault fault;

	catch_signals();
	ok_eq(raw_enter_count(EENTER, tcs, &request, &fault), RAW_AEX, "INT3 without opting in");
	ok_eq(caught.signo, SIGILL, "is SIGILL");
	drop_frame(tcs);
	catch_signals();
	opt(1);
	ok_eq(raw_enter_count(EENTER, tcs, &request, &fault), RAW_AEX, "INT3 when opted in");
	ok_eq(caught.signo, SIGTRAP, "is SIGTRAP");
	ok_eq(caught.rip, (uint64_t)raw_count_aep, "at the AEP");
	ok_eq(caught.trapno, 3, "#BP");
	read_frame();
	ok_eq((uint32_t)gprsgx[20], EXITINFO_BP, "EXITINFO tells it");
	ok_eq(gprsgx[GPRSGX_RIP], request.rip, "RIP is at the INT3, which is a fault in an enclave");
	drop_frame(tcs);
}

static void on_step(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo, (void)info;
	wrong += in_enclave(registers[REG_RIP]);
	traps++;
	if (registers[REG_RIP] != (greg_t)raw_count_aep) {
		outside_of_enclave++;
		return;
	}
	read_frame();
	wrong += (uint32_t)gprsgx[20] != EXITINFO_DB || !in_enclave(gprsgx[GPRSGX_RIP]);
	wrong += !(registers[REG_EFL] & TF);
	first = first ? first : gprsgx[GPRSGX_RIP];
	last_inside = gprsgx[GPRSGX_RIP];
	inside++;
}

static uint64_t entry_point(void)
{
	uint64_t oentry = 0;

	wrong += enclave_access(&enclave, (uint8_t *)enclave_tcs(&enclave, 0) + 32, &oentry, 8, 0) != 0;
	return (uint64_t)enclave.base + oentry;
}

static void single_steps(void)
{
	struct request request = { .op = OP_ADD, .a = 40, .b = 2 };
	struct raw_fault fault;
	uint64_t result, leaf = EENTER, tcs = (uint64_t)enclave_tcs(&enclave, 0), out = (uint64_t)&fault;
	struct request *argument = &request;
	uint8_t enclu[3];

	handle(SIGTRAP, on_step);
	__asm__ volatile("pushf; orl $0x100, (%%rsp); popf; call raw_enter_count; pushf; andl $~0x100, (%%rsp); popf"
			 : "=a"(result), "+D"(leaf), "+S"(tcs), "+d"(argument), "+c"(out)
			 :
			 : "rbx", "r8", "r9", "r10", "r11", "memory", "cc");
	ok_eq(result, RAW_EXITED, "the enclave is single-stepped to its end");
	ok_eq(request.result, 42, "and has done its work");
	ok_eq(first, entry_point(), "the first trap is pending right behind EENTER");
	ok(inside > 10, "every instruction traps");
	ok_eq(enclave_access(&enclave, (void *)last_inside, enclu, 3, 0), 0, "the last one is read");
	ok(!memcmp(enclu, "\x0f\x01\xd7", 3), "and is the ENCLU that exits");
	ok(outside_of_enclave > 10, "outside, too");
	ok_eq(traps, inside + outside_of_enclave, "nothing else trapped");
	ok_eq(wrong, 0, "each at the AEP, with TF set, EXITINFO #DB and RIP in the enclave");
	opt(0);
	inside = 0;
	leaf = EENTER, tcs = (uint64_t)enclave_tcs(&enclave, 0), out = (uint64_t)&fault, argument = &request;
	__asm__ volatile("pushf; orl $0x100, (%%rsp); popf; call raw_enter_count; pushf; andl $~0x100, (%%rsp); popf"
			 : "=a"(result), "+D"(leaf), "+S"(tcs), "+d"(argument), "+c"(out)
			 :
			 : "rbx", "r8", "r9", "r10", "r11", "memory", "cc");
	ok_eq(inside, 0, "opted out again, it is one step");
}

int main(void)
{
	struct enclave_options options = { .attributes = ATTRIBUTES_DEBUG };

	enclave_load(&enclave, &options);
	int3();
	single_steps();
	return done();
}
