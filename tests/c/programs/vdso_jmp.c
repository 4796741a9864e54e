/* The vdso-jmp design: an ioctl patches the UD2 behind the vDSO's ENCLU into a jump. */
#include "fault.h"

#include <pthread.h>

static struct enclave enclave;
static uint8_t *function;
static const uint8_t unpatched[] = { 0x0f, 0x0b };

static int set(void *target, uint64_t flags)
{
	struct enclu_sgx_vdso_target arguments = { .target = (uint64_t)target, .flags = flags };

	return ioctl(enclave.fd, ENCLU_SGX_IOC_SET_VDSO_TARGET, &arguments) ? errno : 0;
}

static int clear(void) { return ioctl(enclave.fd, ENCLU_SGX_IOC_CLEAR_VDSO_TARGET, 0) ? errno : 0; }

/* Code near the vDSO that leads to raw_returned, which is far: jmp *0(%rip); .quad raw_returned */
static uint8_t *trampoline(long distance)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 };
	uint8_t *place = (uint8_t *)((uint64_t)function & -PAGE) + distance;
	uint64_t back = (uint64_t)raw_returned;

	place = mmap(place, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	memcpy(place, jump, sizeof(jump));
	memcpy(place + sizeof(jump), &back, 8);
	mprotect(place, PAGE, PROT_READ | PROT_EXEC);
	return place;
}

static void without_a_target(void)
{
	struct request add = { .op = OP_ADD, .a = 2, .b = 3 };
	struct raw_fault fault;

	ok(!memcmp(function, "\x0f\x01\xd7\x0f\x0b", 5), "the function is ENCLU and UD2");
	ok_eq(meet_ud2(&enclave, function, NULL), MET_SIGNAL, "without a target an exception ends in a signal");
	ok_eq(raw_enter_at(EENTER, enclave_tcs(&enclave, 2), &add, &fault, function), MET_SIGNAL, "and so does an exit");
	ok_eq(add.result, 5, "of an enclave that did its work");
	ok_eq(caught.signo, SIGILL, "SIGILL");
	ok_eq(caught.trapno, 6, "#UD");
	ok_eq(caught.rip, (uint64_t)function + 3, "at the UD2");
	ok_eq(caught.rax, EEXIT, "RAX: EEXIT");
	ok_eq(meet_bad_tcs(&enclave, function, &fault), MET_SIGNAL, "EENTER that faults");
	ok_eq(caught.rip, (uint64_t)function + 3, "at the UD2");
	ok_eq(caught.rax, EENTER, "RAX: EENTER");
}

static void errors(uint8_t *near)
{
	uint8_t *data = mmap(near + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ok_eq(data, near + PAGE, "data near the vDSO");
	ok_eq(set(NULL, 0), EINVAL, "no target: EINVAL");
	ok_eq(set((void *)(1ull << 63), 0), EINVAL, "not a user address: EINVAL");
	ok_eq(set(near, 1), EINVAL, "flags: EINVAL");
	ok_eq(set(raw_returned, 0), EINVAL, "the program's text is too far: EINVAL");
	ok_eq(set(data, 0), EINVAL, "not executable: EINVAL");
	ok_eq(set(near + 2 * PAGE, 0), EINVAL, "nothing there: EINVAL");
	ok_eq(set(trampoline(0x80001000l), 0), EINVAL, "just beyond 2 GiB: EINVAL");
	ok_eq(ioctl(enclave.fd, ENCLU_SGX_IOC_SET_VDSO_TARGET, 8) ? errno : 0, EFAULT, "no structure: EFAULT");
	ok_eq(clear(), ENOENT, "no target to clear: ENOENT");
	ok(!memcmp(function + 3, unpatched, 2), "still UD2");
	munmap(data, PAGE);
}

static volatile uint32_t flag;

static void *spin(void *unused)
{
	struct request request = { .op = OP_SPIN, .a = (uint64_t)&flag };
	struct raw_fault fault;

	(void)unused;
	return (void *)(long)raw_enter_at(EENTER, enclave_tcs(&enclave, 3), &request, &fault, function);
}

static int child(void)
{
	struct raw_fault fault;
	int met = meet_bad_tcs(&enclave, function, &fault);

	return met == MET_HANDLER && fault.leaf == EENTER && !clear() && !memcmp(function + 3, unpatched, 2) ? 42 : 1;
}

static void in_vfork_child(void)
{
	pid_t pid = vfork();
	int status;

	if (!pid)
		_exit(clear());
	waitpid(pid, &status, 0);
	ok_eq(status, 0, "a child of vfork clears");
	ok(!memcmp(function + 3, unpatched, 2), "the vDSO that it shares");
}

int main(int argc, char **argv)
{
	uint8_t *near, *far;
	int32_t displacement;
	pthread_t thread;
	void *result;

	(void)argv;
	catch_signals();
	enclave_load(&enclave, NULL);
	function = vdso_symbol("__vdso_sgx_enter_enclave");
	if (argc > 1)
		return !memcmp(function + 3, unpatched, 2) && clear() == ENOENT ? 42 : 1;
	without_a_target();
	near = trampoline(0x100000);
	errors(near);

	pthread_create(&thread, NULL, spin, NULL);
	ok_eq(set(near, 0), 0, "set");
	memcpy(&displacement, function + 4, 4);
	ok(function[3] == 0xe9 && function + 8 + displacement == near, "the bytes are a jump to the target");
	flag = 1;
	pthread_join(thread, &result);
	ok_eq(result, MET_NOTHING, "a thread that entered before exits by the jump");
	expect_both(&enclave, function, "patched");
	ok_eq(meet_ud2(&enclave, raw_direct_enclu, NULL), MET_SIGNAL, "the program's own ENCLU has no target");
	ok_eq(set(near, 0), EBUSY, "a second target: EBUSY");
	ok_eq(in_child(child), 42, "a forked child has a copy");
	ok_eq(meet_ud2(&enclave, function, NULL), MET_HANDLER, "the parent keeps its own");
	ok_eq(in_child(exec_again), 42, "exec begins with an UD2");
	ok_eq(clear(), 0, "cleared");
	ok(!memcmp(function + 3, unpatched, 2), "UD2 again");
	ok_eq(meet_ud2(&enclave, function, NULL), MET_SIGNAL, "signals again");
	far = trampoline(-0x7fff0000l);
	ok_eq(set(far, 0), 0, "almost 2 GiB below");
	ok_eq(meet_ud2(&enclave, function, NULL), MET_HANDLER, "reached");
	in_vfork_child();
	return done();
}
