/* The policies of mm-handler (argument): what a second registration and an unregistration do. */
#include "enclave.h"

#include "enclu_sgx.h"

static struct enclave enclave;
extern uint8_t second_handler[];
__asm__("second_handler: jmp raw_faulted");

static int add(const void *argument)
{
	return ioctl(enclave.fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, argument) ? errno : 0;
}

static int drop(void)
{
	return ioctl(enclave.fd, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER, 0) ? errno : 0;
}

static volatile int signals;

static void on_ill(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info;
	signals++;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)raw_faulted;
}

static int fault(void)
{
	struct request ud2 = { .op = OP_UD2 };
	struct raw_fault fault = { 0 };
	int before = signals, result = raw_enter_direct(EENTER, enclave_tcs(&enclave, 0), &ud2, &fault);
	struct request decrement = { .op = OP_EDECCSSA };

	raw_enter_direct(EENTER, enclave_tcs(&enclave, 0), &decrement, &fault);
	return result == RAW_FAULTED && signals == before;
}

int main(int argc, char **argv)
{
	struct enclu_sgx_mm_handler first = { .handler = (uint64_t)raw_faulted }, second = { .handler = (uint64_t)second_handler };
	struct enclu_sgx_mm_handler flags = { .handler = first.handler, .flags = 1 };
	struct enclu_sgx_mm_handler last = { .handler = 0x7fffffffe000 }, beyond = { .handler = 0x7ffffffff000 };
	const char *policy = argc > 1 ? argv[1] : "overwrite";
	bool overwrite = !strcmp(policy, "overwrite"), once = !strcmp(policy, "write-once");

	handle(SIGILL, on_ill);
	enclave_load(&enclave, NULL);
	ok_eq(add(NULL), EFAULT, "no structure");
	ok_eq(add((void *)0x800000000000), EFAULT, "a structure that is not there");
	ok_eq(add(&flags), EINVAL, "unknown flags");
	ok_eq(add(&beyond), EINVAL, "beyond user addresses");
	ok_eq(drop(), ENOENT, "nothing registered");
	ok(!fault() && signals == 1, "an exception is a signal");
	ok_eq(add(&first), 0, "registered");
	ok(fault(), "an exception goes to the handler");
	ok_eq(add(&second), overwrite ? 0 : EBUSY, "a second registration");
	ok_eq(add(&last), overwrite ? 0 : EBUSY, "the last user address");
	ok_eq(add(&first), overwrite ? 0 : EBUSY, "the same again");
	ok(fault(), "still handled");
	ok_eq(drop(), once ? EBUSY : 0, "unregistered");
	ok_eq(drop(), once ? EBUSY : ENOENT, "twice");
	ok_eq(fault(), once, "an exception now");
	ok_eq(add(&second), once ? EBUSY : 0, "registered anew");
	ok(fault(), "handled");
	return done();
}
