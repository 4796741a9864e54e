/*
 * Pages that are added one a call: they are in the measurement, whatever comes in between is refused or done as ever, and
 * nothing that the program does meanwhile loses one.
 */
#include "enclave.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGES 2300	/* more than are queued at once */
#define ROW 10

static struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
static volatile long signals;

static void tick(int signo)
{
	signals += signo == SIGALRM;
}

static int add(int fd, uint64_t offset, void *source)
{
	struct sgx_enclave_add_pages arguments = { .src = (uint64_t)source, .offset = offset, .length = PAGE,
		.secinfo = (uint64_t)&secinfo, .flags = SGX_PAGE_MEASURE };
	int result = ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arguments) ? errno : 0;

	return result ? result : arguments.count == PAGE ? 0 : -1;
}

/* As many pages as it takes for the next ones to be added without ado; how many were not. */
static int add_row(int fd, uint64_t *next, void *source)
{
	int bad = 0;

	for (int i = 0; i < ROW; i++, *next += PAGE)
		bad += add(fd, *next, source) != 0;
	return bad;
}

static void *load(void *argument)
{
	struct enclave_options options = { .heap_pages = PAGES, .singly = true };
	struct enclave enclave;
	uint64_t sum = 0;

	(void)argument;
	enclave_load(&enclave, &options);
	for (uint64_t i = 0; i < PAGES; i++)
		sum += ask(enclave_tcs(&enclave, 0), OP_READ, (uint64_t)enclave.base + enclave.heap + i * PAGE, 0, 0);
	enclave_unload(&enclave);
	return (void *)sum;
}

int main(void)
{
	struct enclave_options options = { .no_init = true, .spare_pages = 400 }, ready = { .heap_pages = 1 };
	struct itimerval timer = { { 0, 500 }, { 0, 500 } };
	struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
	uint8_t *source = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sgx_enclave_add_pages *fixed = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct enclave enclave, other;
	pthread_t threads[3];
	uint64_t next, sum = 0;
	int bad = 0, status, fd;
	pid_t child;
	void *result;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, load, NULL);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &result);
		sum += (uint64_t)result;
	}
	ok_eq(sum, 0, "three enclaves at once, under signals");
	memset(&timer, 0, sizeof timer);
	setitimer(ITIMER_REAL, &timer, NULL);
	ok(signals > 0, "signals came");

	enclave_load(&other, &ready);
	enclave_load(&enclave, &options);
	munmap(source + PAGE, PAGE);
	next = enclave.spare;
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	ok_eq(add(enclave.fd, next + 8, source), EINVAL, "no offset of a page");
	ok_eq(add(enclave.fd, next - PAGE, source), EBUSY, "a page that is there");
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	ok_eq(add(enclave.fd, next, source + PAGE), EFAULT, "an unreadable source");
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	ok_eq(add(enclave.fd, next, other.base + other.heap), EFAULT, "a source that is an enclave's");
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	ok_eq(add(enclave.fd, next, source + 8), EINVAL, "an unaligned source");
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	*fixed = (struct sgx_enclave_add_pages) { .src = (uint64_t)source, .offset = next, .length = PAGE,
		.secinfo = (uint64_t)&secinfo, .flags = SGX_PAGE_MEASURE };
	mprotect(fixed, PAGE, PROT_READ);
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, fixed) ? errno : 0, EFAULT, "where no count can be written");
	ok_eq(add(enclave.fd, next, source), EBUSY, "it was added");
	next += PAGE;
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, NULL) ? errno : 0, EFAULT, "no argument");
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, 1ul << 63) ? errno : 0, EFAULT, "an argument that is no address");

	fd = dup(enclave.fd);
	ok_eq(add_row(fd, &next, source), 0, "by a copy of the descriptor");
	dup2(open("/dev/null", O_RDWR), fd);
	ok_eq(add(fd, next, source), ENOTTY, "which is another file's then");
	ok_eq(add(-1, next, source), EBADF, "no descriptor");
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");
	ok_eq(add(other.fd, next, source), EINVAL, "to an enclave that is initialised");
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row");

	child = fork();
	if (!child)
		_exit(add(enclave.fd, next - PAGE, source) == EBUSY ? add_row(enclave.fd, &next, source) : 99);
	waitpid(child, &status, 0);
	ok_eq(status, 0, "a child adds a row, and finds what its parent has added");
	ok_eq(add(enclave.fd, next, source), EBUSY, "and so does its parent");
	next += ROW * PAGE;

	secinfo.flags = PT_REG_FLAGS | 1;
	ok_eq(add_row(enclave.fd, &next, source), 0, "a row that is to be read");
	ok(mprotect(enclave.base + next - PAGE, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EACCES, "it cannot be written");
	ok(mprotect(enclave.base + next - PAGE, PAGE, PROT_READ) == 0, "but be read");
	bad += add_row(enclave.fd, &next, source);
	ok_eq(bad, 0, "a row");
	enclave_unload(&enclave);
	return done();
}
