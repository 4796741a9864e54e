/* A difference from Linux, where it opens the device: io_uring's calls are the host kernel's alone, which has no device. */
#include "enclave.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>

int main(void)
{
	struct io_uring_params setup = { 0 };
	int ring = syscall(SYS_io_uring_setup, 1u, &setup), result;
	uint8_t *sq, *cq;
	struct io_uring_sqe *entry;

	ok(open("/dev/sgx_enclave", O_RDWR) >= 0, "open()");
	if (ring < 0) {
		ok(errno == ENOSYS || errno == EPERM, "# SKIP no io_uring here");
		return done();
	}
	sq = mmap(NULL, setup.sq_off.array + 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, setup.cq_off.cqes + 64, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entry = mmap(NULL, sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	*entry = (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uint64_t)"/dev/sgx_enclave", .open_flags = O_RDWR };
	*(unsigned *)(sq + setup.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(sq + setup.sq_off.tail), 1, __ATOMIC_RELEASE);
	ok_eq(syscall(SYS_io_uring_enter, ring, 1u, 1u, IORING_ENTER_GETEVENTS, NULL, 0ul), 1, "an entry is taken");
	result = ((struct io_uring_cqe *)(cq + setup.cq_off.cqes))->res;
	ok_eq(result, -ENOENT, "IORING_OP_OPENAT: the host has no such device");
	return done();
}
