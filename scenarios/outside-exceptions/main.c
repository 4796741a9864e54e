#include "pair.h"

#include <signal.h>
#include <ucontext.h>

/* Each puts 0x1234 into RDX, faults at NAME_at, and is left at NAME_next. */
#define FAULT(name, instructions) \
	void name(void); \
	extern uint8_t name##_at[], name##_next[]; \
	__asm__(".text\n" #name ": push %rbx; mov $0x1234, %edx; xor %ecx, %ecx\n" instructions "\n" #name "_next: pop %rbx; ret\n")

FAULT(null_pointer, "null_pointer_at: mov (%rcx), %rax");
FAULT(ud2, "ud2_at: ud2");
FAULT(divide, "mov $1, %eax; xchg %edx, %ecx; xor %edx, %edx; xor %ebx, %ebx; mov $0x1234, %ecx\n"
	      "divide_at: div %ebx");
FAULT(undefined_leaf, "mov $77, %eax; xor %ebx, %ebx\nundefined_leaf_at: .byte 0x0f, 0x01, 0xd7");
FAULT(getkey, "mov $1, %eax; xor %ebx, %ebx\ngetkey_at: .byte 0x0f, 0x01, 0xd7");

static struct { int signo; uint64_t rip, rdx, rcx, address; } caught;
static uint8_t *resume_at;

static void on_signal(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	caught.signo = signo;
	caught.rip = registers[REG_RIP];
	caught.rdx = registers[REG_RDX];
	caught.rcx = registers[REG_RCX];
	caught.address = (uint64_t)info->si_addr;
	registers[REG_RIP] = (greg_t)resume_at;
}

static void expect(void (*fault)(void), uint8_t *at, uint8_t *next, int signo, const char *name)
{
	memset(&caught, 0, sizeof(caught));
	resume_at = next;
	fault();
	ok_eq(caught.signo, signo, "%s: the program's handler", name);
	ok_eq(caught.rip, (uint64_t)at, "%s: RIP", name);
	ok(caught.rdx == 0x1234 || caught.rcx == 0x1234, "%s: registers", name);
}

static void expect_all(const char *where)
{
	note("%s", where);
	expect(null_pointer, null_pointer_at, null_pointer_next, SIGSEGV, "null pointer");
	ok_eq(caught.address, 0, "null pointer: the address");
	expect(ud2, ud2_at, ud2_next, SIGILL, "UD2");
	expect(divide, divide_at, divide_next, SIGFPE, "division by zero");
	expect(undefined_leaf, undefined_leaf_at, undefined_leaf_next, SIGSEGV, "ENCLU with a leaf that does not exist");
	expect(getkey, getkey_at, getkey_next, SIGSEGV, "ENCLU[EGETKEY] outside an enclave");
}

static uint64_t in_ocall(void *context, void *argument)
{
	(void)context, (void)argument;
	expect_all("in an OCALL");
	return 0;
}

static int without_handler(int signo, void (*fault)(void))
{
	signal(signo, SIG_DFL);
	must_start(open_runtime("a"));
	fault();
	return 0;
}

static int die_of_ud2(void) { return without_handler(SIGILL, ud2); }
static int die_of_null(void) { return without_handler(SIGSEGV, null_pointer); }

int main(void)
{
	static const int signals[] = { SIGSEGV, SIGILL, SIGFPE };
	static const sgx_ocall ocalls[] = { in_ocall };
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair pair;

	ok(!strcmp(in_child(die_of_ud2), "killed by SIGILL"), "without a handler, UD2 outside is SIGILL");
	ok(!strcmp(in_child(die_of_null), "killed by SIGSEGV"), "without a handler, a null pointer outside is SIGSEGV");
	for (int i = 0; i < 3; i++)
		sigaction(signals[i], &action, NULL);
	must_start(runtime);
	pair = new_pair("only", runtime);
	expect_all("in the program");
	ok_eq(pair_run(&pair, 0, steps, ocalls, 1), 0, "an ECALL with an OCALL");
	ok(pair_fault(&pair, 0), "the enclave's exceptions are told as always");
	expect_all("afterwards");
	finish();
}
