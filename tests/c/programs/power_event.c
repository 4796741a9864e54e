/* After a power event nothing of an enclave is left; the program is told so, and builds it anew. */
#include "fault.h"

static struct enclave enclave;

static void expect_lost(const char *name, struct outcome got, unsigned int function, int index)
{
	expect_fault(name, got, function, 14, 0x8005, (uint64_t)enclave_tcs(&enclave, index));
	if (got.signo) {
		ok_eq(got.signo, SIGSEGV, "as a signal: SIGSEGV");
		ok_eq(got.code, SEGV_ACCERR, "which says that the access is not allowed");
	}
}

static int errno_of(unsigned long command, void *argument)
{
	return ioctl(enclave.fd, command, argument) ? errno : 0;
}

/* A process that knows nothing of what its child does. */
static int drop(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);

	return ioctl(fd, ENCLU_SGX_IOC_DROP_EPC) ? errno : 0;
}

int main(void)
{
	struct sgx_enclave_restrict_permissions restrict_ = { .offset = PAGE, .length = PAGE, .permissions = 1 };
	struct sgx_enclave_modify_types modify = { .length = PAGE, .page_type = 4 };
	struct enclave_options with_heap = { .heap_pages = 1, .spare_pages = 2 }, raw = { .no_init = true };
	struct request request = { .op = OP_NOP };
	struct enclave unfinished;
	struct spinner spinner;

	enclave_load(&enclave, &with_heap);
	enclave_load(&unfinished, &raw);
	*(uint64_t *)(enclave.base + enclave.heap) = 1;
	spinner_start(&spinner, enclave_tcs(&enclave, 1));
	ok_eq(in_child(drop), 0, "another process brings the power event about");
	expect_lost("who was inside cannot resume", spinner_join(&spinner), ERESUME, 1);
	expect_lost("nobody can enter", attempt(enclave_tcs(&enclave, 0), &request, EENTER), EENTER, 0);
	expect_lost("nor resume", attempt(enclave_tcs(&enclave, 0), &request, ERESUME), ERESUME, 0);
	ok_eq(*(uint64_t *)(enclave.base + enclave.heap), ~0ul, "code outside meets the abort page");
	restrict_.offset = modify.offset = enclave.heap;
	ok_eq(errno_of(SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restrict_), EFAULT, "restricting permissions: EFAULT");
	ok_eq(errno_of(SGX_IOC_ENCLAVE_MODIFY_TYPES, &modify), EFAULT, "changing types: EFAULT");
	ok_eq(enclave_init(&unfinished) ? errno : 0, EIO, "initialising what was unfinished: EIO");
	enclave_unload(&enclave);
	enclave_unload(&unfinished);
	enclave_load(&enclave, &with_heap);
	expect_exit("built anew, it can be entered", attempt(enclave_tcs(&enclave, 0), &request, EENTER));
	ok_eq(drop(), 0, "the program's own power event");
	expect_lost("and again it is lost", attempt(enclave_tcs(&enclave, 0), &request, EENTER), EENTER, 0);
	return done();
}
