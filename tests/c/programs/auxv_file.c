/* /proc/self/auxv tells of the vDSO that the program really has, whatever name it is opened by. */
#include "enclave.h"

#include <elf.h>
#include <sys/auxv.h>

static uint64_t from_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	Elf64_auxv_t entry;
	uint64_t value = 0;

	while (read(fd, &entry, sizeof(entry)) == sizeof(entry))
		if (entry.a_type == AT_SYSINFO_EHDR)
			value = entry.a_un.a_val;
	close(fd);
	return value;
}

int main(void)
{
	uint64_t vdso = getauxval(AT_SYSINFO_EHDR);
	char path[64];

	ok(!memcmp((void *)vdso, ELFMAG, SELFMAG), "there is a vDSO");
	ok_eq(from_file("/proc/self/auxv"), vdso, "/proc/self/auxv");
	ok_eq(from_file("/proc/thread-self/auxv"), vdso, "/proc/thread-self/auxv");
	snprintf(path, sizeof(path), "/proc/%d/auxv", getpid());
	ok_eq(from_file(path), vdso, "/proc/PID/auxv");
	ok(chdir("/proc/self") == 0 && from_file("auxv") == vdso, "a relative path");
	return done();
}
