/* A difference from Linux: who looks closely sees that the device is no device, and the vDSO not the host's. */
#include "enclave.h"

#include <dirent.h>
#include <sys/auxv.h>
#include <sys/stat.h>

int main(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR), listed = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long named = 0;
	char line[512];
	struct dirent *item;
	struct stat status;
	DIR *dev = opendir("/dev");

	snprintf(line, sizeof(line), "/tmp/enclu-link-%d", getpid());
	ok(!symlink("/dev/sgx_enclave", line) && open(line, O_RDWR) == -1 && errno == ENOENT, "a symbolic link to it leads nowhere (Linux opens it)");
	unlink(line);
	ok(stat("/dev/sgx", &status) == -1 && errno == ENOENT, "/dev/sgx is no directory (it is one with udev's rules for Linux)");
	ok(stat("/dev/sgx_enclave", &status) == 0 && S_ISCHR(status.st_mode), "stat: a character device");
	ok(fstat(fd, &status) == 0 && S_ISREG(status.st_mode), "fstat: a file (Linux: the device)");
	while ((item = readdir(dev)))
		listed += !strcmp(item->d_name, "sgx_enclave");
	ok_eq(listed, 0, "/dev does not list it (Linux does)");
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "[vdso]"))
			named = strtoul(line, NULL, 16);
	ok(named && named != getauxval(AT_SYSINFO_EHDR), "/proc/self/maps names another vDSO than getauxval() (Linux: the same)");
	return done();
}
