/* /sys tells how much EPC a node has; /dev/sgx_vepc is not there. */
#include "enclave.h"

#include <glob.h>
#include <sys/stat.h>

static const char name[] = "/sys/devices/system/node/node0/x86/sgx_total_bytes";

static long bytes(const char *path)
{
	char text[32] = { 0 };
	int fd = open(path, O_RDONLY);
	long length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	close(fd);
	return length < 2 || text[length - 1] != '\n' ? -1 : atol(text);
}

static int opens(const char *path, int flags)
{
	int fd = open(path, flags), error = errno;

	close(fd);
	return fd < 0 ? error : 0;
}

int main(int argc, char **argv)
{
	struct stat status;
	glob_t found;

	(void)argc;
	ok_eq(bytes(name), atol(argv[1]), "all of the EPC is at the first node");
	ok_eq(bytes("/sys/devices/../devices/system/node/node0/x86/./sgx_total_bytes"), atol(argv[1]), "by another path");
	ok_eq(chdir("/sys/devices/system"), 0, "in a directory above");
	ok_eq(bytes("node/node0/x86/sgx_total_bytes"), atol(argv[1]), "by a relative path");
	ok_eq(glob("/sys/devices/system/node/node[0]*/x86/sgx_total_bytes", 0, NULL, &found), 0, "shells find it");
	ok_eq(stat(name, &status), 0, "it has a status");
	ok(S_ISREG(status.st_mode) && (status.st_mode & 0777) == 0444 && status.st_size == 4096, "of an attribute of sysfs");
	ok_eq(access(name, R_OK), 0, "it can be read");
	ok_eq(opens(name, O_WRONLY), EACCES, "and not be written");
	ok_eq(opens("/sys/devices/system/node/node99999/x86/sgx_total_bytes", O_RDONLY), ENOENT, "a node that is none");
	ok_eq(opens("/sys/devices/system/node/node0/sgx_total_bytes", O_RDONLY), ENOENT, "a place where it is not");
	ok_eq(opens("/dev/sgx_vepc", O_RDWR), ENOENT, "no EPC for virtual machines");
	return done();
}
