/* Calls that name a path behave as natively, whatever the pointer; those that name a device of ours are answered. */
#include "enclave.h"

#include <sys/stat.h>
#include <sys/syscall.h>

static char *edge; /* two pages, the second without access */

/* The path at the very end of readable memory, or at its very beginning. */
static const char *at_end(const char *path) { return strcpy(edge + PAGE - strlen(path) - 1, path); }
static const char *at_start(const char *path) { return strcpy(edge, path); }

static void expect_efault(const char *path, const char *name)
{
	struct stat status;
	char buffer[8];

	printf("# %s\n", name);
	ok(open(path, O_RDONLY) == -1 && errno == EFAULT, "open");
	ok(stat(path, &status) == -1 && errno == EFAULT, "stat");
	ok(lstat(path, &status) == -1 && errno == EFAULT, "lstat");
	ok(access(path, F_OK) == -1 && errno == EFAULT, "access");
	ok(readlink(path, buffer, sizeof(buffer)) == -1 && errno == EFAULT, "readlink");
}

int main(void)
{
	static const char *const devices[] = { "/dev/sgx_enclave", "/dev/sgx/enclave", "/dev/sgx_provision", "/dev//sgx_enclave" };
	char directory[] = "/tmp/path_calls.XXXXXX", buffer[64];
	struct stat status;
	int fd;

	edge = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(edge, PAGE, PROT_NONE);
	mprotect(edge + 2 * PAGE, PAGE, PROT_NONE);
	edge += PAGE;

	expect_efault(NULL, "NULL");
	expect_efault(edge - 8, "memory without access");
	expect_efault((char *)0xdeadbeef00000000, "a pointer that is not canonical");
	memset(edge, 'x', PAGE);
	expect_efault(edge + PAGE - 5, "a path without end");

	ok(stat(at_end("/tmp"), &status) == 0 && S_ISDIR(status.st_mode), "a path at the end of readable memory");
	ok(stat(at_start("/"), &status) == 0 && S_ISDIR(status.st_mode), "a short one at the beginning");
	ok(stat(at_start(""), &status) == -1 && errno == ENOENT, "an empty one");

	ok(mkdtemp(directory) && !chdir(directory), "a directory");
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "a rather long name.info" : "info";

		fd = open(at_start(name), O_CREAT | O_WRONLY, 0600);
		ok(fd >= 0 && write(fd, "x", 1) == 1 && !close(fd), "%s: made", name);
		ok(!stat(at_end(name), &status) && status.st_size == 1, "found");
		ok(!unlink(name), "removed");
	}
	chdir("/");
	ok(!rmdir(directory), "removed");

	for (unsigned i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		printf("# %s\n", devices[i]);
		ok(!stat(at_end(devices[i]), &status) && S_ISCHR(status.st_mode), "stat");
		ok(!access(at_start(devices[i]), R_OK | W_OK), "access");
		ok(readlink(devices[i], buffer, sizeof(buffer)) == -1 && errno == EINVAL, "no link");
		fd = open(devices[i], O_RDWR);
		ok(fd >= 0 && !close(fd), "open");
		fd = syscall(SYS_open, devices[i], O_RDWR);
		ok(fd >= 0 && !close(fd), "open by a system call of the program's own");
	}
	return done();
}
