/* Entering an enclave in the way that the delivery design at hand is made for, and telling how the entry ended. */
#include "enclave.h"

#include "enclu_sgx.h"

/* Raw ENCLU becomes a signal under `signal`, and where only the vDSO's own is fixed up. */
enum { UNKNOWN, VDSO, HANDLER, SIGNAL };
static int design;
static __thread struct outcome *waiting;

/* SIGNAL: what the vDSO or a registered handler would be told comes from the signal's frame. */
static void on_fault(int signo, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct outcome *outcome = waiting;

	__asm__ volatile("pushf; andl $~0x40000, (%%rsp); popf" : : : "cc", "memory");
	if (!outcome) {
		printf("Bail out! signal %d at %#llx outside an attempt, address %p\n", signo, r[REG_RIP], info->si_addr);
		fflush(stdout);
		_exit(99);
	}
	*outcome = (struct outcome){ .function = ERESUME, .vector = r[REG_TRAPNO], .error = r[REG_ERR], .signo = signo,
		.code = info->si_code, .where = (uint64_t)info->si_addr };
	if (outcome->vector == 14)
		outcome->address = r[REG_CR2];
	if (r[REG_RIP] == (greg_t)raw_once_enclu) {
		outcome->function = r[REG_RAX];
		r[REG_RIP] = (greg_t)raw_faulted;
	}
}

/* Threads may find it at the same time: each has handlers before anybody enters by it. */
static void find_design(void)
{
	static const int faults[] = { SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV };
	int found = !strcmp(delivery(), "vdso") ? VDSO : strstr(delivery(), "-handler") ? HANDLER : SIGNAL;

	for (int i = 0; found == SIGNAL && i < 5; i++)
		handle(faults[i], on_fault);
	__atomic_store_n(&design, found, __ATOMIC_RELEASE);
}

/* Whatever may be registered already is the same. */
static void register_handler(void)
{
	struct enclu_sgx_range_handler range = { (uint64_t)raw_direct_enclu, 3, (uint64_t)raw_faulted, 0 };
	struct enclu_sgx_mm_handler mm = { (uint64_t)raw_faulted, 0 };
	struct enclu_sgx_thread_handler mine = { (uint64_t)raw_faulted, 0 };
	static __thread bool registered;
	int fd;

	if (registered)
		return;
	registered = true;
	fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	if (!strcmp(delivery(), "mm-handler"))
		ioctl(fd, ENCLU_SGX_IOC_REGISTER_MM_HANDLER, &mm);
	else if (!strcmp(delivery(), "range-handler"))
		ioctl(fd, ENCLU_SGX_IOC_REGISTER_RANGE_HANDLER, &range);
	else
		ioctl(fd, ENCLU_SGX_IOC_REGISTER_THREAD_HANDLER, &mine);
	close(fd);
}

struct outcome attempt(void *tcs, struct request *request, unsigned int leaf)
{
	struct outcome outcome = { 0 };
	struct sgx_enclave_run run;
	struct raw_fault fault;
	int result;

	if (__atomic_load_n(&design, __ATOMIC_ACQUIRE) == UNKNOWN)
		find_design();
	switch (design) {
	case VDSO:
		vdso_enter(tcs, request, leaf, &run);
		outcome.function = run.function;
		if (run.function != EEXIT) {
			outcome.vector = run.exception_vector;
			outcome.error = run.exception_error_code;
			outcome.address = run.exception_addr;
		}
		break;
	case HANDLER:
		register_handler();
		outcome.function = EEXIT;
		if (raw_enter_direct(leaf, tcs, request, &fault) == RAW_FAULTED)
			outcome = (struct outcome){ .function = fault.leaf, .vector = fault.vector, .error = fault.error,
				.address = fault.address };
		break;
	default:
		waiting = &outcome;
		do {
			result = raw_enter_once(leaf, tcs, request, &fault);
			leaf = ERESUME; /* an AEX without a signal: an interrupt, or a fault that the kernel resolved */
		} while (result == RAW_AEX && !outcome.function);
		waiting = NULL;
		if (result == RAW_EXITED)
			outcome.function = EEXIT;
	}
	return outcome;
}

static void *spin(void *argument)
{
	struct spinner *spinner = argument;

	spinner->outcome = attempt(spinner->tcs, &spinner->request, EENTER);
	return NULL;
}

void spinner_start(struct spinner *spinner, void *tcs)
{
	spinner->tcs = tcs;
	spinner->inside = spinner->stop = 0;
	spinner->request = (struct request){ .op = OP_SPIN, .a = (uint64_t)&spinner->stop, .b = (uint64_t)&spinner->inside };
	pthread_create(&spinner->thread, NULL, spin, spinner);
	while (!spinner->inside)
		usleep(100);
}

struct outcome spinner_join(struct spinner *spinner)
{
	pthread_join(spinner->thread, NULL);
	return spinner->outcome;
}

bool expect_exit(const char *name, struct outcome got)
{
	bool right = ok(got.function == EEXIT, "%s", name);

	if (!right)
		printf("# leaf %u, vector %d, error code %#x, address %#llx\n", got.function, got.vector, got.error,
		       (unsigned long long)got.address);
	return right;
}

bool expect_fault(const char *name, struct outcome got, unsigned int function, int vector, int error, uint64_t address)
{
	bool right = got.function == function && got.vector == vector && got.error == error && got.address == address;

	if (!ok(right, "%s", name)) {
		printf("# got leaf %u, vector %d, error code %#x, address %#llx\n", got.function, got.vector, got.error,
		       (unsigned long long)got.address);
		printf("# want leaf %u, vector %d, error code %#x, address %#llx\n", function, vector, error,
		       (unsigned long long)address);
	}
	return right;
}

uint64_t ask(void *tcs, uint64_t op, uint64_t a, uint64_t b, uint64_t c)
{
	struct request request = { .op = op, .a = a, .b = b, .c = c };
	struct outcome outcome = attempt(tcs, &request, EENTER);

	if (outcome.function != EEXIT) {
		printf("Bail out! request %d: leaf %u, vector %d, error code %#x, address %#llx\n", (int)op, outcome.function,
		       outcome.vector, outcome.error, (unsigned long long)outcome.address);
		exit(99);
	}
	return request.result;
}

void drop_frame(void *tcs)
{
	ask(tcs, OP_EDECCSSA, 0, 0, 0);
}
