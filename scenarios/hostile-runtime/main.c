/*
 * The victim is a runtime as usual.  The hostile one does not play by any rules of user space: it knows the victim's
 * code, and makes every call of every design that could take away the victim's exceptions.
 */
#include "pair.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enclu_sgx.h"

enum { TOLD, NOT_TOLD, STOLEN = 66 };

static int device;
static struct { uint64_t entry, length, faulted; } victim_code;

/* Where the hostile runtime wants exceptions to go. */
static void stolen(void)
{
	_exit(STOLEN);
}

static void on_signal(int signo)
{
	(void)signo;
	_exit(STOLEN);
}

/* A symbol of the victim's file. */
static const Elf64_Sym *symbol(const uint8_t *file, const char *name)
{
	const Elf64_Ehdr *header = (void *)file;
	const Elf64_Shdr *sections = (void *)(file + header->e_shoff);

	for (int i = 0; i < header->e_shnum; i++) {
		const Elf64_Sym *symbols = (void *)(file + sections[i].sh_offset);
		const char *names = (void *)(file + sections[sections[i].sh_link].sh_offset);

		for (uint64_t n = 0; sections[i].sh_type == SHT_SYMTAB && n < sections[i].sh_size / sizeof(*symbols); n++)
			if (!strcmp(names + symbols[n].st_name, name))
				return &symbols[n];
	}
	return NULL;
}

static void spy_out(const struct sgx_runtime *victim)
{
	const Elf64_Sym *entry, *faulted;
	struct stat status;
	uint8_t *file;
	Dl_info info;
	int fd;

	dladdr(victim, &info);
	fd = open(info.dli_fname, O_RDONLY);
	fstat(fd, &status);
	file = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	entry = symbol(file, "enter_enclave");
	faulted = symbol(file, "enter_faulted");
	if (entry && faulted) {
		victim_code.entry = (uint64_t)info.dli_fbase + entry->st_value;
		victim_code.length = entry->st_size;
		victim_code.faulted = (uint64_t)info.dli_fbase + faulted->st_value;
	}
	munmap(file, status.st_size);
	close(fd);
}

static void unregister_all(void)
{
	struct enclu_sgx_thread_handler innermost = { .handler = victim_code.faulted };
	struct enclu_sgx_range range = { victim_code.entry, victim_code.length };

	ioctl(device, ENCLU_SGX_IOC_UNREGISTER_MM_HANDLER);
	ioctl(device, ENCLU_SGX_IOC_CLEAR_VDSO_TARGET);
	ioctl(device, ENCLU_SGX_IOC_UNREGISTER_THREAD_HANDLER, &innermost);
	ioctl(device, ENCLU_SGX_IOC_UNREGISTER_RANGE_HANDLER, &range);
}

/* A jump to stolen() that a JMP rel32 in the vDSO reaches. */
static uint64_t near_vdso(void)
{
	static const uint8_t jump[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp *0(%rip); the address follows */
	void (*target)(void) = stolen;
	uint8_t *page = mmap((uint8_t *)getauxval(AT_SYSINFO_EHDR) + 0x1000000, SGX_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (page == MAP_FAILED)
		return 0;
	memcpy(page, jump, sizeof(jump));
	memcpy(page + sizeof(jump), &target, sizeof(target));
	return (uint64_t)page;
}

static void register_all(void)
{
	struct enclu_sgx_mm_handler mm = { .handler = (uint64_t)stolen };
	struct enclu_sgx_vdso_target target = { .target = near_vdso() };
	struct enclu_sgx_thread_handler innermost = { .handler = (uint64_t)stolen };
	struct enclu_sgx_range_handler range = { .start = 0x1000, .length = (1ul << 47) - 0x2000, .handler = (uint64_t)stolen };

	ioctl(device, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &mm);
	ioctl(device, ENCLU_SGX_IOC_SET_VDSO_TARGET, &target);
	ioctl(device, ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, &innermost);
	ioctl(device, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range);
	range.start = victim_code.entry;
	range.length = victim_code.length;
	ioctl(device, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range);
}

static void replace_all(void)
{
	unregister_all();
	register_all();
}

static void take_signals(void)
{
	static const int signals[] = { SIGSEGV, SIGILL, SIGBUS, SIGFPE };

	for (int i = 0; i < 4; i++)
		signal(signals[i], on_signal);
}

static void (*attack)(void);
static bool during_ocall;

static void *run_attack(void *unused)
{
	attack();
	return unused;
}

static uint64_t ocall_to_hostile(void *context, void *argument)
{
	(void)context, (void)argument;
	attack();
	return 0;
}

/* In a child.  The victim's enclave raises an exception after the attack: is its host told? */
static int victim(void)
{
	static const sgx_ocall ocalls[] = { ocall_to_hostile };
	struct step steps[] = { { STEP_OCALL, 0, 0, 0 }, { STEP_UD, 0, 0, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_runtime *runtime = open_runtime("a");
	struct pair pair;
	pthread_t thread;

	device = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	must_start(runtime);
	pair = new_pair("victim's", runtime);
	spy_out(runtime);
	if (during_ocall)
		return pair_run(&pair, 0, steps, ocalls, 1) == EFAULT && pair.told.vector == 6 ? TOLD : NOT_TOLD;
	pthread_create(&thread, NULL, run_attack, NULL);
	pthread_join(thread, NULL);
	return pair_fault(&pair, 0) ? TOLD : NOT_TOLD;
}

static void expect_told(void (*by)(void), bool in_ocall, const char *what)
{
	const char *ended;
	bool right;

	attack = by;
	during_ocall = in_ocall;
	ended = in_child(victim);
	if (!strcmp(ended, "exited with 66"))
		ended = "the hostile one was";
	right = !strcmp(ended, "exited with 0");
	ok(right, "%s, the victim is told%s%s", what, right ? "" : ": ", right ? "" : ended);
}

static void nothing(void)
{
}

int main(void)
{
	expect_told(nothing, true, "without an attack");
	expect_told(unregister_all, false, "unregistered by a thread of its own");
	expect_told(register_all, false, "registered by a thread of its own");
	expect_told(replace_all, false, "replaced by a thread of its own");
	expect_told(unregister_all, true, "unregistered during the victim's OCALL");
	expect_told(register_all, true, "registered during the victim's OCALL");
	expect_told(replace_all, true, "replaced during the victim's OCALL");
	expect_told(take_signals, false, "signal handlers replaced");
	finish();
}
