/* A difference from Linux, where it is EACCES: ADD_PAGES takes a source that is mapped from a noexec mount. */
#include "enclave.h"

#include <sched.h>
#include <sys/mount.h>

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (write(fd, text, strlen(text)) < 0)
		printf("# %s: %s\n", path, strerror(errno));
	close(fd);
}

/* In namespaces of our own, where anybody may mount. */
static bool mount_noexec(void)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "0 %d 1", (int)geteuid());
	snprintf(groups, sizeof(groups), "0 %d 1", (int)getegid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return false;
	put("/proc/self/uid_map", users);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/gid_map", groups);
	return !mount("none", "/mnt", "tmpfs", MS_NOEXEC, NULL);
}

int main(void)
{
	struct { uint64_t flags, reserved[7]; } __attribute__((aligned(64))) secinfo = { .flags = PT_REG_FLAGS | 3 };
	struct enclave_options options = { .no_init = true, .spare_pages = 1 };
	struct sgx_enclave_add_pages add = { .length = PAGE, .secinfo = (uint64_t)&secinfo };
	struct enclave enclave;
	void *source;
	int file;

	if (!mount_noexec()) {
		ok(true, "# SKIP cannot mount here: %s", strerror(errno));
		return done();
	}
	file = open("/mnt/pages", O_RDWR | O_CREAT, 0600);
	ftruncate(file, PAGE);
	source = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	ok(mprotect(source, PAGE, PROT_READ | PROT_EXEC) == -1 && errno == EACCES, "on a mount that forbids to execute it");
	enclave_load(&enclave, &options);
	add.offset = enclave.spare;
	add.src = (uint64_t)source;
	ok_eq(ioctl(enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add) ? errno : 0, 0, "ADD_PAGES");
	return done();
}
