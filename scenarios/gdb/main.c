#include "pair.h"

#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stub.h"

static const char script[] =
	"set pagination off\n"
	"set confirm off\n"
	"set auto-load libthread-db off\n"
	"set remotetimeout 60\n"
	"target remote gdb.socket\n"
	"add-symbol-file-from-memory vdso\n"
	"break in_ocall\n"
	"continue\n"
	"printf \"observed: OCALL with %d\\n\", (int)(long)argument\n"
	"backtrace\n"
	"delete\n"
	"break on_exception\n"
	"continue\n"
	"printf \"observed: exception %d\\n\", exception->vector\n"
	"delete\n"
	"break before_entry\n"
	"continue\n"
	"set $enclu = 0\n"
	"set $steps = 0\n"
	"while $enclu == 0 && $steps < 3000\n"
	"stepi\n"
	"set $steps = $steps + 1\n"
	"if *(unsigned short *)$pc == 0x010f && *((unsigned char *)$pc + 2) == 0xd7\n"
	"set $enclu = (long)$pc\n"
	"end\n"
	"end\n"
	"stepi\n"
	"printf \"observed: a step over ENCLU to %d bytes behind it\\n\", (int)((long)$pc - $enclu)\n"
	"delete\n"
	"break *$enclu\n"
	"continue\n"
	"printf \"observed: a breakpoint at ENCLU %d with RAX %d\\n\", (int)((long)$pc - $enclu), (int)$rax\n"
	"delete\n"
	"detach\n";

static struct pair pair;
volatile unsigned long vdso;	/* gdb asks for it: over this protocol it does not look for one itself */

__attribute__((noinline)) uint64_t in_ocall(void *context, void *argument)
{
	(void)context;
	__asm__ volatile("");
	return (uint64_t)argument + 1;
}

__attribute__((noinline)) enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	return pair_exception(context, exception);
}

__attribute__((noinline)) void before_entry(void)
{
	__asm__ volatile("");
}

static pid_t start_gdb(int *connection)
{
	struct sockaddr_un address = { AF_UNIX, "gdb.socket" };
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *file = fopen("gdb.script", "w");
	pid_t pid;

	fputs(script, file);
	fclose(file);
	bind(listening, (struct sockaddr *)&address, sizeof(address));
	listen(listening, 1);
	pid = fork();
	if (pid == 0) {
		unsetenv("DEBUGINFOD_URLS");
		if (freopen("gdb.log", "w", stdout) && dup2(STDOUT_FILENO, STDERR_FILENO) > 0)
			execlp("gdb", "gdb", "-nx", "-batch", "-x", "gdb.script", program_invocation_name, NULL);
		_exit(127);
	}
	*connection = accept(listening, NULL, NULL);
	return pid;
}

static const char *read_log(void)
{
	static char log[1 << 20];
	FILE *file = fopen("gdb.log", "r");

	fread(log, 1, sizeof(log) - 1, file);
	fclose(file);
	return log;
}

static void expect_debugged(void)
{
	static const sgx_ocall ocalls[] = { in_ocall };
	struct step leave[] = { { STEP_ADD, 40, 2, 0 }, { STEP_END, 0, 0, 0 } };
	struct step both[] = { { STEP_OCALL, 0, 41, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { ocalls, 1, on_exception, &pair };
	void *tcs = sgx_tcs(&pair.enclave, 0);
	int error;

	error = pair.runtime->call(&pair.enclave, tcs, BASIC_RUN, both, &host, NULL, NULL);
	ok_eq(error, EFAULT, "an ECALL with an OCALL and an exception");
	ok_eq(both[0].result, 42, "the OCALL returns");
	ok_eq(pair.times, 1, "the host is told of the exception and nothing else");
	ok_eq(pair.runtime->reset(&pair.enclave, tcs), 0, "the enclave gives up");
	before_entry();
	error = pair.runtime->call(&pair.enclave, tcs, BASIC_RUN, leave, &host, NULL, NULL);
	ok_eq(error, 0, "an ECALL, stepped through");
	error = pair.runtime->call(&pair.enclave, tcs, BASIC_RUN, leave, &host, NULL, NULL);
	ok_eq(error, 0, "an ECALL with a breakpoint on its ENCLU");
}

static void expect_log(const char *log)
{
	static const char *const lines[] = {
		"observed: OCALL with 41\n",
		"observed: exception 6\n",
		"observed: a step over ENCLU to 3 bytes behind it\n",
		"observed: a breakpoint at ENCLU 0 with RAX 2\n",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ok(strstr(log, lines[i]), "gdb %.*s", (int)strlen(lines[i]) - 1, lines[i]);
	ok(strstr(log, " entry_event ") && strstr(log, " main ()"), "gdb unwinds from the OCALL through the runtime to main()");
}

int main(void)
{
	struct sgx_runtime *runtime = open_runtime("a");
	int connection, status;
	const char *log;
	pid_t gdb;

	vdso = getauxval(AT_SYSINFO_EHDR);
	if (system("command -v gdb >/dev/null"))
		wrong("gdb is missing: apt-get install gdb");
	must_start(runtime);
	pair = new_pair("only", runtime);
	gdb = start_gdb(&connection);
	stub_start(connection);
	__asm__ volatile("int3");
	expect_debugged();
	waitpid(gdb, &status, 0);
	log = read_log();
	expect_log(log);
	if (!ok(status == 0, "gdb ends"))
		fputs(log, stderr);
	ok(pair_fault(&pair, 0), "without gdb, exceptions are told as ever");
	finish();
}
