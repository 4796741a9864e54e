/*
 * A thread waits in a system call for a page that another thread serves (userfaultfd(2)), and cannot stop before. The
 * one that serves it uses an enclave first, and waits until another process has taken its pages away. `native`: without.
 */
#include "enclave.h"

#include <linux/userfaultfd.h>
#include <sys/syscall.h>

#define HEAP 90
#define OTHERS_HEAP 220 /* more than is left of the EPC */

static bool natively;
static int faults, go[2], gone[2];
static char *area;

static void use(struct enclave *enclave)
{
	for (uint64_t i = 0; i < HEAP; i++)
		ask(enclave_tcs(enclave, 0), OP_WRITE, (uint64_t)enclave->base + enclave->heap + i * PAGE, i, 0);
}

static void *serve(void *unused)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	struct enclave_options options = { .heap_pages = HEAP };
	struct uffdio_copy copy = { .dst = (uint64_t)area, .src = (uint64_t)page, .len = PAGE };
	struct uffd_msg message;
	struct enclave enclave;
	char byte;

	if (read(faults, &message, sizeof message) != sizeof message)
		return NULL;
	if (!natively) {
		enclave_load(&enclave, &options);
		use(&enclave);
		write(go[1], "x", 1);
		read(gone[0], &byte, 1);
		use(&enclave);
	}
	ioctl(faults, UFFDIO_COPY, &copy);
	return unused;
}

static void evict(void)
{
	struct enclave_options options = { .heap_pages = OTHERS_HEAP };
	struct enclave enclave;
	char byte;

	close(go[1]);
	if (read(go[0], &byte, 1) == 1)
		enclave_load(&enclave, &options);
	write(gone[1], "x", 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int pipes[2];
	pthread_t server;

	natively = argc > 1 && !strcmp(argv[1], "native");
	faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (faults < 0 || ioctl(faults, UFFDIO_API, &api)) {
		ok(errno == EPERM || errno == ENOSYS, "userfaultfd is not for everybody here");
		return done();
	}
	pipe(go);
	pipe(gone);
	pipe(pipes);
	if (!natively && !fork())
		evict();
	area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uint64_t)area;
	range.range.len = PAGE;
	ioctl(faults, UFFDIO_REGISTER, &range);
	pthread_create(&server, NULL, serve, NULL);
	write(pipes[1], "0123456789", 10);
	ok_eq(read(pipes[0], area, 10), 10, "a read into the page");
	ok(!memcmp(area, "0123456789", 10), "what was read");
	pthread_join(server, NULL);
	return done();
}
