#include "scenario.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enclu_sgx.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int observations;
static char first_failure[256];

const char *design(void)
{
	static struct enclu_sgx_delivery answer;
	int fd;

	if (answer.name[0])
		return answer.name;
	fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "/dev/sgx_enclave: %s; scenarios run under `enclu run`\n", strerror(errno));
		exit(2);
	}
	/* Hardware and its kernel know no such question: Linux 5.11 and later. */
	if (ioctl(fd, ENCLU_SGX_IOC_GET_DELIVERY, &answer))
		strcpy(answer.name, "vdso");
	close(fd);
	return answer.name;
}

const char *built(const char *file)
{
	char *path;

	/* SCENARIOS_BUILD: the directory that everything is built into. */
	if (asprintf(&path, "%s/%s", SCENARIOS_BUILD, file) < 0)
		abort();
	return path;
}

struct sgx_runtime *open_runtime(const char *name)
{
	char file[64];
	void *object;
	struct sgx_runtime *runtime;

	snprintf(file, sizeof(file), "runtimes/%s-%s.so", design(), name);
	object = dlopen(built(file), RTLD_NOW | RTLD_LOCAL);
	runtime = object ? dlsym(object, "sgx_runtime") : NULL;
	if (!runtime) {
		fprintf(stderr, "%s\n", dlerror());
		exit(2);
	}
	return runtime;
}

const char *errno_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "an unknown error";
}

void must_start(struct sgx_runtime *runtime)
{
	int error = runtime->start();

	if (error)
		wrong("starting the runtime: %s", errno_name(error));
}

void must_load(struct sgx_runtime *runtime, struct sgx_enclave *enclave, const char *file)
{
	int error = runtime->load(enclave, built(file));

	if (error)
		wrong("loading %s: %s", file, errno_name(error));
}

static bool observe(bool condition, const char *details, const char *format, va_list arguments)
{
	char text[256];

	vsnprintf(text, sizeof(text), format, arguments);
	pthread_mutex_lock(&lock);
	printf("%sok %u - %s%s\n", condition ? "" : "not ", ++observations, text, details);
	fflush(stdout);
	if (!condition && !first_failure[0])
		snprintf(first_failure, sizeof(first_failure), "%s", text);
	pthread_mutex_unlock(&lock);
	return condition;
}

bool ok(bool condition, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	observe(condition, "", format, arguments);
	va_end(arguments);
	return condition;
}

bool ok_eq(uint64_t got, uint64_t want, const char *format, ...)
{
	char details[64] = "";
	va_list arguments;

	if (got != want)
		snprintf(details, sizeof(details), " (%#llx, not %#llx)", (unsigned long long)got, (unsigned long long)want);
	va_start(arguments, format);
	observe(got == want, details, format, arguments);
	va_end(arguments);
	return got == want;
}

void note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	pthread_mutex_lock(&lock);
	printf("# ");
	vprintf(format, arguments);
	printf("\n");
	fflush(stdout);
	pthread_mutex_unlock(&lock);
	va_end(arguments);
}

/* Leaves without destructors: what the runtimes have registered ends with the process. */
static void outcome(const char *what, const char *format, va_list arguments) __attribute__((noreturn));
static void outcome(const char *what, const char *format, va_list arguments)
{
	pthread_mutex_lock(&lock);
	printf("1..%u\noutcome: %s ", observations, what);
	vprintf(format, arguments);
	printf("\n");
	fflush(stdout);
	_exit(0);
}

static void outcome_of(const char *what, const char *format, ...) __attribute__((noreturn));
static void outcome_of(const char *what, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	outcome(what, format, arguments);
}

static void not_if_anything_failed(void)
{
	if (first_failure[0])
		outcome_of("wrong", "not so: %s", first_failure);
	if (!observations)
		outcome_of("wrong", "nothing was observed");
}

void finish(void)
{
	not_if_anything_failed();
	outcome_of("works", "%u observations", observations);
}

void works(const char *format, ...)
{
	va_list arguments;

	not_if_anything_failed();
	va_start(arguments, format);
	outcome("works", format, arguments);
}

void wrong(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	outcome("wrong", format, arguments);
}

void refused(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	outcome("refused", format, arguments);
}

void refused_if(int error, const char *format, ...)
{
	char text[256];
	va_list arguments;

	if (!error)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	outcome_of("refused", "%s: %s", text, errno_name(error));
}

static void tell_end(char *text, size_t size, pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			abort();
	if (WIFSIGNALED(status))
		snprintf(text, size, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with %d", WEXITSTATUS(status));
}

const char *in_child(int (*body)(void))
{
	static char text[64];
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(body());
	tell_end(text, sizeof(text), pid);
	return text;
}

/* A file that is gone with the last descriptor. */
static int temporary(const void *content, size_t size)
{
	int fd = memfd_create("scenario", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, content, size, 0) != (ssize_t)size)
		abort();
	return fd;
}

/* Closes the file. */
static uint8_t *content_of(int fd, size_t *size)
{
	uint8_t *content;

	*size = lseek(fd, 0, SEEK_END);
	content = calloc(1, *size + 1);
	if (!content || pread(fd, content, *size, 0) != (ssize_t)*size)
		abort();
	close(fd);
	return content;
}

struct ran run_program(const char *const arguments[], const void *input, size_t size)
{
	int files[] = { temporary(input, size), temporary("", 0), temporary("", 0) };
	struct ran ran;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		for (int fd = 0; fd < 3; fd++)
			dup2(files[fd], fd);
		execvp(arguments[0], (char *const *)arguments);
		_exit(127);
	}
	tell_end(ran.ended, sizeof(ran.ended), pid);
	close(files[0]);
	ran.output = content_of(files[1], &ran.size);
	ran.errors = (char *)content_of(files[2], &size);
	for (char *rest, *line = strtok_r(strdupa(ran.errors), "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		note("%s: %s", arguments[0], line);
	return ran;
}
