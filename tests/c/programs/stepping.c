/* The ioctls of a run with --stepping (enclu_sgx.h): what they do, and each error that they tell; without it, ENOTTY. */
#include "fault.h"

#define INTERRUPT SIGUSR1

static struct enclave enclave;
static volatile int interrupts;
static uint64_t rips[4096];

static void on_interrupt(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	interrupts++;
}

static int call(unsigned long command, void *argument)
{
	return ioctl(enclave.fd, command, argument) ? errno : 0;
}

static uint64_t tcs(void)
{
	return (uint64_t)enclave_tcs(&enclave, 0);
}

static int step(struct enclu_sgx_step step)
{
	return call(ENCLU_SGX_IOC_STEP, &step);
}

static struct enclu_sgx_step free_step(void)
{
	return (struct enclu_sgx_step){ .tcs = tcs(), .until = ENCLU_SGX_STEP_ALWAYS, .room = 4096 };
}

static struct enclu_sgx_stepped stepped(void)
{
	struct enclu_sgx_stepped state = { .tcs = tcs(), .record = (uint64_t)rips, .recorded = 4096 };

	ok_eq(call(ENCLU_SGX_IOC_STEPPED, &state), 0, "how far the plan has come");
	return state;
}

static int checkpoint(uint64_t action, uint64_t number)
{
	struct enclu_sgx_checkpoint checkpoint = { tcs(), action, number, 0 };

	return call(ENCLU_SGX_IOC_CHECKPOINT, &checkpoint);
}

static int inside(const void *address, void *buffer, uint64_t length)
{
	struct enclu_sgx_inside inside = { (uint64_t)address, (uint64_t)buffer, length };

	return call(ENCLU_SGX_IOC_INSIDE, &inside);
}

static void plans(void)
{
	struct enclu_sgx_stepped state;
	struct enclu_sgx_step next = free_step();
	uint64_t instructions, first;

	ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0);	/* which brings its pages in */
	ok_eq(step(next), 0, "instructions are to be recorded");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 40, 2, 0), 42, "the enclave answers");
	state = stepped();
	ok(state.executed > 10 && state.recorded == state.executed, "and has been recorded");
	ok_eq(state.stopped, 0, "nothing was to happen");
	ok_eq(state.entries, 1, "in one entry");
	ok(rips[0] >= (uint64_t)enclave.base && rips[0] < (uint64_t)enclave.base + enclave.size, "addresses are the enclave's");
	instructions = state.executed, first = rips[5];

	next.then = ENCLU_SGX_STEP_INTERRUPT, next.signo = INTERRUPT, next.until = 5, next.room = 0;
	ok_eq(step(next), 0, "an interrupt after five instructions");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 40, 2, 0), 42, "the enclave is resumed and answers");
	state = stepped();
	ok_eq(state.executed, 5, "five instructions had been executed");
	ok_eq(state.stopped, 1, "when the interrupt came");
	ok_eq(interrupts, 1, "once");

	next.until = ENCLU_SGX_STEP_ALWAYS, next.address = first, next.times = 1;
	ok_eq(step(next), 0, "an interrupt before the sixth, by its address");
	ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0);
	ok_eq(stepped().stopped, 1, "it came");
	ok_eq(interrupts, 2, "once more");

	next.times = instructions;
	ok_eq(step(next), 0, "for a time that there is not");
	ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0);
	ok_eq(stepped().stopped, 0, "it did not come");

	next = (struct enclu_sgx_step){ .tcs = tcs(), .until = 5, .then = ENCLU_SGX_STEP_RAISE, .vector = 13, .error_code = 7 };
	ok_eq(step(next), 0, "a #GP after five instructions");
	expect_fault("#GP", attempt(enclave_tcs(&enclave, 0), &(struct request){ .op = OP_NOP }, EENTER), ERESUME, 13, 7, 0);
	ok_eq(step(free_step()), 0, "no more of it");
	drop_frame(enclave_tcs(&enclave, 0));
}

static void chosen_registers(void)
{
	struct enclu_sgx_registers in = { .which = 1 << 12 | 1 << 17, .r12 = 0x1212, .rflags = 0x202 | 0x400 }, left = {};
	struct enclu_sgx_stepped state = { .tcs = tcs(), .left = (uint64_t)&left };
	struct enclu_sgx_step next = free_step();

	next.entry = (uint64_t)&in;
	ok_eq(step(next), 0, "registers are chosen");
	ok_eq(ask(enclave_tcs(&enclave, 0), OP_ADD, 1, 2, 0), 3, "the enclave answers");
	ok_eq(call(ENCLU_SGX_IOC_STEPPED, &state), 0, "those that it left");
	ok_eq(state.has_left, 1, "are there");
	ok_eq(left.rax, EEXIT, "with EEXIT in RAX");
	ok(state.xsave_size >= 576, "and the extended state is as large as it is");
}

static void checkpoints(void)
{
	void *heap = enclave.base + enclave.heap;
	uint64_t word = 0;

	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_RESTORE, 0), ENOENT, "no checkpoint to restore");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_MOVE, 0), ENOENT, "nor to move");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_DROP, 0), ENOENT, "nor to drop");
	ask(enclave_tcs(&enclave, 0), OP_WRITE, (uint64_t)heap, 1, 0);
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_TAKE, 0), 0, "one is taken");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_RESTORE, 1), ENOENT, "not of another number");
	ask(enclave_tcs(&enclave, 0), OP_WRITE, (uint64_t)heap, 2, 0);
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_RESTORE, 0), 0, "and restored");
	ok_eq(inside(heap, &word, 8), 0, "memory is read");
	ok_eq(word, 1, "which is as it was");
	ok_eq(checkpoint(4, 0), EINVAL, "no such action");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_DROP, 0), 0, "it is dropped");
}

static uint64_t word_of(const char *code)
{
	uint64_t word;

	memcpy(&word, code, 8);
	return word;
}

/* Code that the enclave writes and copies: RDRAND %rax with RET, and MOV $7, %eax with RET, eight bytes each. */
static void changing_code(void)
{
	static const char rdrand[] = "\x48\x0f\xc7\xf0\xc3\x90\x90\x90", seven[] = "\xb8\x07\0\0\0\xc3\x90\x90";
	uint64_t heap = (uint64_t)enclave.base + enclave.heap, page = (uint64_t)enclave.base + enclave.spare, first, word = 0;
	void *at = enclave_tcs(&enclave, 0);

	if (mmap((void *)page, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, enclave.fd, 0) == MAP_FAILED)
		ok(false, "room for code");
	ask(at, OP_WRITE, heap, word_of(rdrand), 0);
	ok_eq(ask(at, OP_EACCEPTCOPY, page, PT_REG_FLAGS | 5, heap), 0, "code is accepted");
	ask(at, OP_EMODPE, page, PT_REG_FLAGS | 7, 0);
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_TAKE, 0), 0, "a checkpoint");
	ok_eq(step(free_step()), 0, "steps");
	first = ask(at, OP_CALL, page, 0, 0);
	ok_eq(stepped().drawn, 1, "a random number");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_RESTORE, 0), 0, "from the checkpoint");
	ok_eq(step(free_step()), 0, "once more");
	ok_eq(ask(at, OP_CALL, page, 0, 0), first, "the same");
	ok_eq(stepped().drawn, 0, "is no new one");
	ok_eq(ask(at, OP_READ, heap, 0, 0), word_of(rdrand), "where it was copied from nothing has changed");
	ok_eq(ask(at, OP_EACCEPTCOPY, page + PAGE, PT_REG_FLAGS | 5, page), 0, "it is copied on");
	ok_eq(inside((void *)(page + PAGE), &word, 8), 0, "the copy");
	ok_eq(word, word_of(rdrand), "is the instruction");
	ok_eq(step((struct enclu_sgx_step){ .tcs = tcs() }), 0, "no steps");
	expect_exit("the copy", attempt(at, &(struct request){ .op = OP_CALL, .a = page + PAGE }, EENTER));
	ok_eq(step(free_step()), 0, "steps");
	ask(at, OP_WRITE, page, word_of(seven), 0);
	ok_eq(ask(at, OP_CALL, page, 0, 0), 7, "other code in its place is executed");
	ok_eq(stepped().drawn, 0, "and is no source");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_RESTORE, 0), 0, "from the checkpoint");
	ok_eq(step(free_step()), 0, "once more");
	ok_eq(ask(at, OP_CALL, page, 0, 0), first, "the code of then");
	checkpoint(ENCLU_SGX_CHECKPOINT_DROP, 0);
}

static void busy(void)
{
	struct spinner spinner;

	spinner_start(&spinner, enclave_tcs(&enclave, 1));
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_TAKE, 0), EBUSY, "a thread is inside");
	spinner.stop = 1;
	spinner_join(&spinner);
}

static void errors(void)
{
	struct enclu_sgx_step wrong;
	struct enclu_sgx_stepped unknown = { .tcs = (uint64_t)enclave_tcs(&enclave, 3) };
	struct enclu_sgx_registers registers = { .which = 1 };
	struct enclu_sgx_checkpoint outside = { (uint64_t)&wrong, ENCLU_SGX_CHECKPOINT_TAKE, 0, 0 };
	uint64_t word;
	void *spare = enclave.base + enclave.spare + 2 * PAGE;

	ok_eq(call(ENCLU_SGX_IOC_STEP, (void *)16), EFAULT, "STEP: no structure");
	wrong = free_step(), wrong.tcs = (uint64_t)&wrong;
	ok_eq(step(wrong), EFAULT, "no enclave is mapped at the TCS");
	wrong = free_step(), wrong.entry = 16;
	ok_eq(step(wrong), EFAULT, "no registers");
	wrong = free_step(), wrong.then = 3;
	ok_eq(step(wrong), EINVAL, "no such `then'");
	wrong = free_step(), wrong.then = ENCLU_SGX_STEP_INTERRUPT;
	ok_eq(step(wrong), EINVAL, "no signal");
	wrong.signo = 65;
	ok_eq(step(wrong), EINVAL, "nor is 65 one");
	wrong = free_step(), wrong.then = ENCLU_SGX_STEP_RAISE, wrong.vector = 14;
	ok_eq(step(wrong), EINVAL, "#PF is not raised");
	wrong = free_step(), wrong.room = 1ull << 25;
	ok_eq(step(wrong), EINVAL, "too much room");
	wrong = free_step(), wrong.unnotified = 2;
	ok_eq(step(wrong), EINVAL, "neither notified nor not");
	wrong = free_step(), wrong.entry = (uint64_t)&registers;
	for (int i = 0; i < 4; i++) {
		registers.which = (uint64_t[]){ 1 << 0, 1 << 1, 1 << 3, 1 << 16 }[i];
		ok_eq(step(wrong), EINVAL, "a register of ENCLU's own");
	}
	registers.which = 1ull << 40;
	ok_eq(step(wrong), EINVAL, "an unknown register");
	ok_eq(call(ENCLU_SGX_IOC_STEPPED, &unknown), ENOENT, "nothing is planned there");
	ok_eq(call(ENCLU_SGX_IOC_STEPPED, (void *)16), EFAULT, "STEPPED: no structure");
	ok_eq(call(ENCLU_SGX_IOC_CHECKPOINT, &outside), EFAULT, "CHECKPOINT: no enclave is mapped there");
	ok_eq(call(ENCLU_SGX_IOC_CHECKPOINT, (void *)16), EFAULT, "CHECKPOINT: no structure");
	ok_eq(inside(&word, &word, 8), EFAULT, "INSIDE: no enclave is mapped there");
	ok_eq(inside(spare, &word, 8), EFAULT, "no page is there");
	ok_eq(inside(enclave.base + enclave.heap, (void *)16, 8), EFAULT, "no room for it");
	ok_eq(inside(enclave.base + enclave.heap, NULL, 0), 0, "nothing to read");
}

static void not_initialised(void)
{
	struct enclave_options options = { .heap_pages = 1, .no_init = true };

	enclave_unload(&enclave);
	enclave_load(&enclave, &options);
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_TAKE, 0), EINVAL, "an enclave before EINIT");
}

static void unmapped(void)
{
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_TAKE, 0), 0, "one is taken");
	munmap(enclave.base + enclave.heap, PAGE);
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_RESTORE, 0), EFAULT, "a part has been unmapped since");
}

static void none(void)
{
	struct enclu_sgx_step any = free_step();
	struct enclu_sgx_stepped state = { .tcs = tcs() };
	uint64_t word;

	ok_eq(step(any), ENOTTY, "STEP without --stepping");
	ok_eq(call(ENCLU_SGX_IOC_STEPPED, &state), ENOTTY, "STEPPED");
	ok_eq(checkpoint(ENCLU_SGX_CHECKPOINT_TAKE, 0), ENOTTY, "CHECKPOINT");
	ok_eq(inside(enclave.base, &word, 8), ENOTTY, "INSIDE");
}

int main(int argc, char **argv)
{
	struct enclave_options options = { .heap_pages = 2, .spare_pages = 3 };

	handle(INTERRUPT, on_interrupt);
	enclave_load(&enclave, &options);
	if (argc > 1 && !strcmp(argv[1], "none")) {
		none();
		return done();
	}
	plans();
	chosen_registers();
	checkpoints();
	changing_code();
	busy();
	errors();
	unmapped();
	not_initialised();
	return done();
}
