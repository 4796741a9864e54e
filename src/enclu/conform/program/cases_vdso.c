/* __vdso_sgx_enter_enclave(). */
#include "conform.h"

#define VDSO_SAYS "Linux __vdso_sgx_enter_enclave()"

void vdso_call(struct sgx_enclave_run *run, uint64_t function);

static struct sgx_enclave_run run;
static uint64_t function;
static struct request request;

/* Returns EAX as a signed number; the registers are in `transition.out`. */
static long call(enum leaf leaf)
{
	transition.in.rcx = leaf;
	transition.in.rdi = (uint64_t)&request;
	transition.in.rflags |= 2;
	vdso_call(&run, function);
	__asm__ volatile("fninit");
	return (int32_t)transition.out.rax;
}

static void prepare(uint64_t code)
{
	function = vdso_function("__vdso_sgx_enter_enclave");
	if (!function)
		unsupported("the vDSO has no __vdso_sgx_enter_enclave");
	load((struct options){ 0 });
	request.code = place(code);
	request.in.rflags |= 2;
	run.tcs = place(TCS0);
	for (unsigned int n = 0; n < 16; n++)
		((uint64_t *)&transition.in)[n] = 0x101010101 * (n + 1);
}

static void say_run(long result)
{
	say("%e, function %d", result, (uint64_t)run.function);
	if (run.function != EEXIT)
		say(", vector %d, error %x at %a", (uint64_t)run.exception_vector, (uint64_t)run.exception_error_code, run.exception_addr);
}

/* a: the function, EENTER or another. */
static void wrong_function(const struct claim *claim)
{
	prepare(AT_nothing);
	run.function = 77;
	say("%e, function %d", call((enum leaf)claim->a), (uint64_t)run.function);
}

static void reserved(const struct claim *claim)
{
	prepare(AT_nothing);
	run.reserved[claim->a] = 1;
	say("%e", call(EENTER));
}

/* a: the code; b: RBX, an offset in ELRANGE. */
static void entered(const struct claim *claim)
{
	static const uint32_t unmasked[] = { 0x37b, 0, 0x1d80 };
	long result;

	prepare(claim->a);
	copy_in(place(OPERAND), unmasked, sizeof(unmasked));
	request.in.rbx = claim->b < ENCLAVE_SIZE ? place(claim->b) : claim->b;
	request.in.rflags |= claim->c;
	result = call(EENTER);
	say_run(result);
}

/* A page that became a TCS is mapped to be executed: sgx_vma_fault() says SIGBUS. */
static void no_such_mapping(const struct claim *claim)
{
	long result;

	need_sgx2();
	prepare(claim->a);
	put_in_state(PAGE_RWX, MADE_TCS);
	request.in.rbx = place(PAGE_RWX + 8);
	result = call(EENTER);
	say_run(result);
	say(", %s", transition.how ? "a signal" : "no signal");
}

static void wrong_tcs(const struct claim *claim)
{
	long result;

	prepare(AT_nothing);
	run.tcs = claim->b ? claim->a : place(claim->a);
	result = call((enum leaf)(claim->c ? claim->c : EENTER));
	say_run(result);
}

/* The enclave has what the caller had in them: a, the register's number. */
static void argument(const struct claim *claim)
{
	prepare(AT_nothing);
	call(EENTER);
	say("%s", ((uint64_t *)&request.entered)[claim->a] == ((uint64_t *)&transition.in)[claim->a] ? "the caller's" : "another");
}

/* The caller has again what it had in them. */
static void kept(const struct claim *claim)
{
	prepare(claim->b);
	call(EENTER);
	say("%s", ((uint64_t *)&transition.out)[claim->a] == ((uint64_t *)&transition.in)[claim->a] ? "kept" : "changed");
}

static void direction(const struct claim *claim)
{
	prepare(claim->a);
	request.in.rflags |= DF;
	call(EENTER);
	say("DF %d", (transition.out.rflags & DF) / DF);
}

static void untouched_fields(const struct claim *claim)
{
	prepare(claim->a);
	run.exception_vector = 0x55;
	run.exception_error_code = 0x66;
	run.exception_addr = 0x77;
	run.user_data = 0x88;
	call(EENTER);
	say("vector %x, error %x, address %x, data %x", (uint64_t)run.exception_vector, (uint64_t)run.exception_error_code,
	    run.exception_addr, run.user_data);
}

/* An exception, then ERESUME of what cannot go on: the same again. */
static void resumed(const struct claim *claim)
{
	struct gprsgx gprsgx;
	long result;

	prepare(AT_ud2);
	result = call(EENTER);
	say_run(result);
	say("; ");
	if (claim->a) { /* the enclave steps over it */
		frame_of(0, &gprsgx, NULL);
		gprsgx.rip += 2;
		copy_in(ssa_of(1) - sizeof(gprsgx), &gprsgx, sizeof(gprsgx));
	}
	result = call(ERESUME);
	say_run(result);
}

/* The user handler. */
static struct {
	int calls, run_right;
	int then[4];
	long rdi, rsi, rdx, ursp, r8, r9;
	uint32_t function;
	uint16_t vector;
} handled;

int vdso_handler(void);
int handle(long rdi, long rsi, long rdx, long ursp, long r8, long r9, struct sgx_enclave_run *given);

int handle(long rdi, long rsi, long rdx, long ursp, long r8, long r9, struct sgx_enclave_run *given)
{
	handled.rdi = rdi;
	handled.rsi = rsi;
	handled.rdx = rdx;
	handled.ursp = ursp;
	handled.r8 = r8;
	handled.r9 = r9;
	handled.run_right = given == &run;
	handled.function = given->function;
	handled.vector = given->exception_vector;
	request.code = place(AT_nothing); /* of the next entry */
	return handled.then[handled.calls++];
}

/* a: the code; b, c, d: what the handler returns in turn. */
static void with_handler(const struct claim *claim)
{
	long result;

	prepare(claim->a);
	run.user_handler = (uint64_t)vdso_handler;
	handled.then[0] = (int)claim->b;
	handled.then[1] = (int)claim->c;
	handled.then[2] = (int)claim->d;
	transition.in.rdi = (uint64_t)&request;
	result = call(EENTER);
	if (result > -4096 && result < 0)
		say("%e", result);
	else
		say("%d", (uint64_t)(uint32_t)result);
	say(", handler called %d times, function %d", (uint64_t)handled.calls, (uint64_t)handled.function);
}

static void handler_after_exception(const struct claim *claim)
{
	prepare(AT_ud2);
	run.user_handler = (uint64_t)vdso_handler;
	call(EENTER);
	switch (claim->a) {
	case 0:
		say("%x, %x, %x", (uint64_t)handled.rdi, (uint64_t)handled.rsi, (uint64_t)handled.rdx);
		break;
	case 1:
		say("%s", handled.run_right ? "run" : "another");
		break;
	case 2:
		say("vector %d", (uint64_t)handled.vector);
		break;
	case 3:
		say("%s", (uint64_t)handled.ursp < transition.in.rsp && transition.in.rsp - (uint64_t)handled.ursp < 256 ? "below the caller's" : "elsewhere");
		break;
	}
}

/* An exception that no design turns into anything: #BP and #DB stay signals. */
static void no_signal(const struct claim *claim)
{
	prepare(claim->a);
	call(EENTER);
	say("%s", transition.how ? "a signal" : "no signal");
}

#define RESERVED(byte) { "reserved byte " #byte " is not 0", VDSO_SAYS, "EINVAL", reserved, byte, 0, 0, 0 }
#define NO_FUNCTION(leaf) { "function " #leaf, VDSO_SAYS, "EINVAL, function 77", wrong_function, leaf, 0, 0, 0 }
#define ARGUMENT(n, name) { name " reaches the enclave", VDSO_SAYS, "the caller's", argument, n, 0, 0, 0 }
#define NO_ADDRESS " at 0x0"
static const struct claim claims[] = {
	{ "EENTER and EEXIT", VDSO_SAYS, "0, function 4", entered, AT_nothing, 0, 0, 0 },
	NO_FUNCTION(0), NO_FUNCTION(1), NO_FUNCTION(4), NO_FUNCTION(5), NO_FUNCTION(9), NO_FUNCTION(0xffffffff),
	RESERVED(0), RESERVED(7), RESERVED(8), RESERVED(100), RESERVED(208), RESERVED(215),
	{ "#UD", VDSO_SAYS, "0, function 3, vector 6, error 0x0" NO_ADDRESS, entered, AT_ud2, 0, 0, 0 },
	{ "#DE", VDSO_SAYS, "0, function 3, vector 0, error 0x0" NO_ADDRESS, entered, AT_div, 0, 0, 0 },
	{ "#GP", VDSO_SAYS, "0, function 3, vector 13, error 0x0" NO_ADDRESS, entered, AT_hlt, 0, 0, 0 },
	{ "#GP by an address", VDSO_SAYS, "0, function 3, vector 13, error 0x0" NO_ADDRESS, entered, AT_read, 0x8000000000000000, 0, 0 },
	{ "#PF by the page tables", VDSO_SAYS, "0, function 3, vector 14, error 0x4 at page_none", entered, AT_read, PAGE_NONE + 8, 0, 0 },
	{ "#PF by a write", VDSO_SAYS, "0, function 3, vector 14, error 0x6 at page_none", entered, AT_write, PAGE_NONE + 8, 0, 0 },
	{ "#PF by the EPCM", VDSO_SAYS, "0, function 3, vector 14, error 0x8005 at tcs1", entered, AT_read, TCS1 + 8, 0, 0 },
	{ "a read that would be SIGBUS", VDSO_SAYS ": Linux do_sigbus()", "0, function 3, vector 14, error 0x4 at page_rwx, no signal", no_such_mapping, AT_read, 0, 0, 0 },
	{ "a write that would be SIGBUS", VDSO_SAYS ": Linux do_sigbus()", "0, function 3, vector 14, error 0x6 at page_rwx, no signal", no_such_mapping, AT_write, 0, 0, 0 },
	{ "#MF", VDSO_SAYS, "0, function 3, vector 16, error 0x0" NO_ADDRESS, entered, AT_x87, OPERAND, 0, 0 },
	{ "#AC", VDSO_SAYS, "0, function 3, vector 17, error 0x0" NO_ADDRESS, entered, AT_read, OPERAND + 1, RFLAGS_AC, 0 },
	{ "#XM", VDSO_SAYS, "0, function 3, vector 19, error 0x0" NO_ADDRESS, entered, AT_simd, OPERAND + 8, 0, 0 },
	{ "INT3 after an opt-out entry", VDSO_SAYS, "0, function 3, vector 6, error 0x0" NO_ADDRESS, entered, AT_int3, 0, 0, 0 },
	{ "EENTER with a TCS that is not aligned", VDSO_SAYS ": EENTER itself", "0, function 2, vector 13, error 0x0" NO_ADDRESS, wrong_tcs, TCS0 + 8, 0, 0, 0 },
	{ "EENTER of a data page", VDSO_SAYS ": EENTER itself", "0, function 2, vector 14, error 0x8005 at data", wrong_tcs, DATA, 0, 0, 0 },
	{ "EENTER where nothing is", VDSO_SAYS ": EENTER itself", "0, function 2, vector 14, error 0x4 at 0x0", wrong_tcs, 0, 1, 0, 0 },
	{ "ERESUME of a TCS that was not interrupted", VDSO_SAYS ": ERESUME itself", "0, function 3, vector 13, error 0x0" NO_ADDRESS, wrong_tcs, TCS0, 0, ERESUME, 0 },
	ARGUMENT(2, "RDX"), ARGUMENT(6, "RSI"), ARGUMENT(7, "RDI"), ARGUMENT(8, "R8"), ARGUMENT(9, "R9"), ARGUMENT(10, "R10"), ARGUMENT(11, "R11"),
	ARGUMENT(12, "R12"), ARGUMENT(13, "R13"), ARGUMENT(14, "R14"), ARGUMENT(15, "R15"),
	{ "RBX is the caller's again", VDSO_SAYS, "kept", kept, 3, AT_nothing, 0, 0 },
	{ "RBP is the caller's again", VDSO_SAYS, "kept", kept, 5, AT_nothing, 0, 0 },
	{ "RSP is the caller's again", VDSO_SAYS, "kept", kept, 4, AT_nothing, 0, 0 },
	{ "RBX is the caller's again after an exception", VDSO_SAYS, "kept", kept, 3, AT_ud2, 0, 0 },
	{ "RBP is the caller's again after an exception", VDSO_SAYS, "kept", kept, 5, AT_ud2, 0, 0 },
	{ "RSP is the caller's again after an exception", VDSO_SAYS, "kept", kept, 4, AT_ud2, 0, 0 },
	{ "DF is clear after an exception", VDSO_SAYS ": cld", "DF 0", direction, AT_ud2, 0, 0, 0 },
	{ "fields of exceptions are left alone by EEXIT", VDSO_SAYS, "vector 0x55, error 0x66, address 0x77, data 0x88", untouched_fields, AT_nothing, 0, 0, 0 },
	{ "user_data is left alone by an exception", VDSO_SAYS, "vector 0x6, error 0x0, address 0x0, data 0x88", untouched_fields, AT_ud2, 0, 0, 0 },
	{ "ERESUME after an exception", VDSO_SAYS, "0, function 3, vector 6, error 0x0 at 0x0; 0, function 3, vector 6, error 0x0 at 0x0", resumed, 0, 0, 0, 0 },
	{ "ERESUME after the enclave has put right what it was", VDSO_SAYS, "0, function 3, vector 6, error 0x0 at 0x0; 0, function 4", resumed, 1, 0, 0, 0 },
	{ "a handler that returns 0", VDSO_SAYS ": user_handler", "0, handler called 1 times, function 4", with_handler, AT_nothing, 0, 0, 0 },
	{ "a handler that returns an errno", VDSO_SAYS ": user_handler", "EPERM, handler called 1 times, function 4", with_handler, AT_nothing, -(uint64_t)EPERM, 0, 0 },
	{ "a handler that returns EENTER once", VDSO_SAYS ": user_handler", "0, handler called 2 times, function 4", with_handler, AT_nothing, EENTER, 0, 0 },
	{ "a handler that returns EENTER twice", VDSO_SAYS ": user_handler", "0, handler called 3 times, function 4", with_handler, AT_nothing, EENTER, EENTER, 0 },
	{ "a handler that returns EENTER after an exception", VDSO_SAYS ": user_handler", "0, handler called 2 times, function 4", with_handler, AT_ud2, EENTER, 0, 0 },
	{ "a handler that returns ERESUME after an exception", VDSO_SAYS ": user_handler", "0, handler called 2 times, function 3", with_handler, AT_ud2, ERESUME, 0, 0 },
	{ "a handler that returns ERESUME where there is nothing", VDSO_SAYS ": user_handler", "0, handler called 2 times, function 3", with_handler, AT_nothing, ERESUME, 0, 0 },
	{ "a handler that returns another number", VDSO_SAYS ": user_handler", "EINVAL, handler called 1 times, function 4", with_handler, AT_nothing, EEXIT, 0, 0 },
	{ "a handler after an exception has the synthetic RDI, RSI and RDX", VDSO_SAYS "; kernel: trap number, error code, address", "0x6, 0x0, 0x0", handler_after_exception, 0, 0, 0, 0 },
	{ "a handler has `run`", VDSO_SAYS ": user_handler", "run", handler_after_exception, 1, 0, 0, 0 },
	{ "a handler finds the vector in `run`", VDSO_SAYS ": user_handler", "vector 6", handler_after_exception, 2, 0, 0, 0 },
	{ "a handler's fourth argument is RSP", VDSO_SAYS ": user_handler", "below the caller's", handler_after_exception, 3, 0, 0, 0 },
	{ "no signal comes", VDSO_SAYS ": fixup_vdso_exception()", "no signal", no_signal, AT_ud2, 0, 0, 0 },
};
GROUP(vdso_group, "vdso", "__vdso_sgx_enter_enclave()", claims);
