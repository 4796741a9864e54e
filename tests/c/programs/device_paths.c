/* Which paths name a device: as the kernel looks them up, in a root directory or mount namespace of the program's own. */
#include "enclave.h"

#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char *node = "sgx_enclave"; /* natively another that is there */
static char new_root[] = "/tmp/enclu-device-paths-XXXXXX";

static const char *path(const char *format)
{
	static char text[4][256];
	static int next;
	char *here = text[next++ % 4];

	snprintf(here, sizeof(text[0]), format, node);
	return here;
}

static int opens(int directory, const char *format)
{
	int fd = openat(directory, path(format), O_RDWR), error = errno;

	if (fd < 0)
		return error;
	close(fd);
	return 0;
}

static int opens2(int directory, const char *format, uint64_t resolve)
{
	struct open_how how = { .flags = O_RDWR, .resolve = resolve };
	int fd = syscall(SYS_openat2, directory, path(format), &how, sizeof(how)), error = errno;

	if (fd < 0)
		return error;
	close(fd);
	return 0;
}

static int status_of(const char *format)
{
	struct stat status;

	return stat(path(format), &status) ? errno : S_ISCHR(status.st_mode) ? 0 : -1;
}

static void lookups(int dev, int root)
{
	char link[64];
	int inside;

	ok_eq(opens(AT_FDCWD, "/dev/%s"), 0, "the plain path");
	ok_eq(opens(AT_FDCWD, "//dev/.//%s"), 0, "with more than it needs");
	ok_eq(opens(AT_FDCWD, "/dev/../dev/%s"), 0, "over a parent");
	ok_eq(opens(AT_FDCWD, "/../../dev/%s"), 0, "above the root");
	ok_eq(opens(AT_FDCWD, "/dev/no-such/../%s"), ENOENT, "over a directory that is not there");
	ok_eq(opens(AT_FDCWD, "/dev/null/../%s"), ENOTDIR, "over what is no directory");
	ok_eq(opens(AT_FDCWD, "/tmp/%s"), ENOENT, "elsewhere");
	ok_eq(opens(dev, "%s"), 0, "relative to its directory");
	ok_eq(opens(dev, "../dev/%s"), 0, "relative, over a parent");
	ok_eq(opens(root, "dev/%s"), 0, "relative to the root");
	ok_eq(opens(root, "%s"), ENOENT, "where it is not");
	ok_eq(opens(1234, "%s"), EBADF, "relative to nothing");
	ok_eq(opens(1234, "/dev/%s"), 0, "absolute, with a descriptor that is none");
	inside = open(path("/dev/null"), O_RDWR);
	ok_eq(opens(inside, "%s"), ENOTDIR, "relative to a file");
	close(inside);

	snprintf(link, sizeof(link), "%s-link", new_root);
	ok_eq(symlink("/dev", link), 0, "a symbolic link to its directory");
	strcat(link, "/%s");
	ok_eq(opens(AT_FDCWD, link), 0, "by which it is found");
	ok_eq(status_of(link), 0, "by stat, too");
	ok_eq(opens2(AT_FDCWD, link, RESOLVE_NO_SYMLINKS), ELOOP, "but not without following links");
	*strrchr(link, '/') = 0;
	unlink(link);
	ok_eq(opens2(AT_FDCWD, "/dev/%s", RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), 0, "a path without links");
	ok_eq(opens2(AT_FDCWD, "/dev/%s", RESOLVE_BENEATH), EXDEV, "beneath, and absolute");
	ok_eq(opens2(root, "dev/%s", RESOLVE_BENEATH), 0, "beneath the root");
	ok_eq(opens2(dev, "../dev/%s", RESOLVE_BENEATH), EXDEV, "beneath its directory, and above");
	ok_eq(opens2(dev, "/%s", RESOLVE_IN_ROOT), 0, "its directory as the root");
	ok_eq(opens2(dev, "/dev/%s", RESOLVE_IN_ROOT), ENOENT, "where there is no /dev");
	ok_eq(opens2(dev, "%s", RESOLVE_NO_XDEV), 0, "on one file system");
	ok_eq(opens2(dev, "%s", 1ul << 40), EINVAL, "in a way that there is not");
}

static int in_new_root(int dev)
{
	ok_eq(chroot(new_root), 0, "chroot");
	ok_eq(opens(AT_FDCWD, "/dev/%s"), ENOENT, "there is no device in another root");
	ok_eq(status_of("/dev/%s"), ENOENT, "by stat neither");
	ok_eq(opens(AT_FDCWD, "/proc/cpuinfo"), ENOENT, "nor is there a /proc");
	ok_eq(opens(dev, "%s"), 0, "but by a descriptor that was there before");
	ok_eq(opens(dev, "./%s"), 0, "with a dot");
	ok_eq(opens(AT_FDCWD, "dev/%s"), 0, "or in the working directory, if that is still outside");
	chdir("/");
	ok_eq(opens(AT_FDCWD, "dev/%s"), ENOENT, "inside there is none");
	ok_eq(opens(AT_FDCWD, "../../dev/%s"), ENOENT, "nor above");
	ok_eq(opens(AT_FDCWD, "devices/%s"), 0, "where /dev is mounted it is");
	ok_eq(opens(AT_FDCWD, "/devices/%s"), 0, "by an absolute path, too");
	ok_eq(opens(AT_FDCWD, "/link/%s"), 0, "and by a link that is absolute in this root");
	return done();
}

/* A mount namespace in which /dev is another file system. */
static int in_new_namespace(int dev)
{
	ok_eq(mount("none", "/dev", "tmpfs", 0, NULL), 0, "another /dev is mounted");
	ok_eq(opens(AT_FDCWD, "/dev/%s"), ENOENT, "in which there is no device");
	ok_eq(opens(dev, "%s"), 0, "but in the one beneath");
	return done();
}

int main(int argc, char **argv)
{
	int dev = open("/dev", O_RDONLY | O_DIRECTORY), root = open("/", O_RDONLY | O_DIRECTORY), status;
	char there[64];

	if (argc > 1 && !strcmp(argv[1], "native"))
		node = "zero";
	mkdtemp(new_root);
	lookups(dev, root);
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		ok(true, "# SKIP mount namespaces take root");
		rmdir(new_root);
		return done();
	}
	snprintf(there, sizeof(there), "%s/devices", new_root);
	mkdir(there, 0755);
	ok_eq(mount("/dev", there, NULL, MS_BIND, NULL), 0, "/dev is mounted in what is to be a root");
	snprintf(there, sizeof(there), "%s/link", new_root);
	symlink("/devices", there);
	chdir("/");
	fflush(stdout);
	if (!fork())
		exit(in_new_root(dev));
	wait(&status);
	ok_eq(status, 0, "in another root");
	fflush(stdout);
	if (!fork())
		exit(in_new_namespace(dev));
	wait(&status);
	ok_eq(status, 0, "in another mount namespace");
	unlink(there);
	snprintf(there, sizeof(there), "%s/devices", new_root);
	umount(there);
	rmdir(there);
	rmdir(new_root);
	return done();
}
