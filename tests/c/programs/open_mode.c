/* The mode that the device was opened in says how it may be mapped, and how its mappings may be protected afterwards. */
#include "enclave.h"

#include <sys/wait.h>

static int fd;

/* errno, or 0. */
static int maps(int prot)
{
	void *got = mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);

	return got == MAP_FAILED ? errno : munmap(got, PAGE);
}

static int protects(void *page, int prot)
{
	return mprotect(page, PAGE, prot) ? errno : 0;
}

int main(void)
{
	void *page;
	int status;
	pid_t child;

	fd = open("/dev/sgx_enclave", O_RDONLY);
	ok_eq(maps(PROT_READ | PROT_EXEC), 0, "opened to be read: mapped to be read and executed");
	ok_eq(maps(PROT_READ | PROT_WRITE), EACCES, "but not to be written");
	page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ok_eq(protects(page, PROT_NONE), 0, "its mapping is protected");
	ok_eq(protects(page, PROT_READ), 0, "and to be read again");
	ok_eq(protects(page, PROT_WRITE), EACCES, "but not to be written");
	child = fork();
	if (child == 0)
		_exit(protects(page, PROT_WRITE));
	ok(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == EACCES, "nor by a forked child");
	close(fd);

	fd = open("/dev/sgx_enclave", O_WRONLY);
	ok_eq(maps(PROT_NONE), EACCES, "opened to be written: not mapped at all");
	close(fd);
	fd = open("/dev/sgx_enclave", O_ACCMODE);
	ok_eq(maps(PROT_NONE), EACCES, "nor when opened for ioctls alone");
	close(fd);

	fd = open("/dev/sgx_provision", O_RDWR);
	ok_eq(maps(PROT_READ), ENODEV, "the other device has nothing to map");
	return done();
}
