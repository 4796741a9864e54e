/* Children that do random things to an enclave, from two threads; their parent's own enclave works all the while. */
#include "enclave.h"

#include <sys/shm.h>
#include <sys/syscall.h>

#define CHILDREN 8
#define CALLS 150
#define SEGMENT (3 * PAGE)

static struct enclave enclave;
static int segment; /* of shared memory */

struct random { uint64_t state; };

static uint64_t below(struct random *random, uint64_t limit)
{
	random->state = checksum_round(random->state);
	return (random->state >> 16) % limit;
}

static uint64_t page(struct random *r)
{
	return (uint64_t)enclave.base + below(r, enclave.size / PAGE) * PAGE;
}

/* Of a range from `start` that does not leave ELRANGE: what lies around it is the program's. */
static uint64_t length(struct random *r, uint64_t start)
{
	uint64_t most = (uint64_t)enclave.base + enclave.size - start, size = (1 + below(r, 6)) * PAGE;

	return size < most && below(r, 32) ? size : most;
}

static uint64_t operand(struct random *r)
{
	return below(r, 12) ? page(r) + (below(r, 2) ? 0 : below(r, 64) * 64) : below(r, 2) ? below(r, ~0ul) : (uint64_t)&enclave;
}

static void enter(struct random *r)
{
	static const uint8_t operations[] = { OP_READ, OP_WRITE, OP_UD2, OP_EACCEPT, OP_EMODPE, OP_EACCEPTCOPY, OP_ENCLU,
		OP_EDECCSSA, OP_INSTRUCTION, OP_FIX_RIP };
	static const uint16_t flags[] = { 0x203, 0x20b, 0x221, 0x410, 0x110, 0x207, 0x201 };
	struct request request = { .op = operations[below(r, sizeof(operations))], .a = operand(r), .b = operand(r), .c = operand(r),
		.d = operand(r) };

	if (request.op >= OP_EACCEPT && request.op <= OP_EACCEPTCOPY)
		request.b = flags[below(r, 7)];
	if (request.op == OP_ENCLU)
		request.a = below(r, 10);
	if (request.op == OP_INSTRUCTION)
		request.a = below(r, INSN_MOV_SS);
	if (request.op == OP_EDECCSSA || request.op == OP_FIX_RIP)
		request.a = 0;
	if (request.op == OP_WRITE && request.a - (uint64_t)enclave.base >= enclave.size)
		request.a = page(r);
	attempt(below(r, 8) ? enclave_tcs(&enclave, below(r, 4)) : (void *)operand(r), &request, EENTER);
}

static void look(struct random *r, uint64_t start, uint64_t size)
{
	static unsigned char resident[1 << 16];

	switch (below(r, 6)) {
	case 0:
		mlock((void *)start, size);
		break;
	case 1:
		munlock((void *)start, size);
		break;
	case 2:
		msync((void *)start, size, MS_SYNC);
		break;
	case 3:
		mincore((void *)start, size, resident);
		break;
	case 4:
		mlockall(MCL_CURRENT);
		munlockall();
		break;
	default:
		if (!below(r, 8))
			syscall(462 /* mseal */, start, size, 0ul);
	}
}

static void call(struct random *r)
{
	static const unsigned long numbers[] = { SGX_IOC_ENCLAVE_CREATE, SGX_IOC_ENCLAVE_INIT, SGX_IOC_ENCLAVE_ADD_PAGES,
		SGX_IOC_ENCLAVE_PROVISION, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, SGX_IOC_ENCLAVE_MODIFY_TYPES,
		SGX_IOC_ENCLAVE_REMOVE_PAGES };
	static const int advice[] = { MADV_DONTNEED, MADV_WILLNEED, MADV_REMOVE, MADV_DONTFORK, MADV_FREE, MADV_DONTDUMP,
		MADV_COLD, MADV_HUGEPAGE, MADV_WIPEONFORK, 22 /* MADV_POPULATE_READ */, 102 /* MADV_GUARD_INSTALL */ };
	uint64_t start = page(r), target = page(r), size = length(r, start), words[6] = { start - (uint64_t)enclave.base, size, below(r, 9), 0, 0, 0 };
	int prot = below(r, 8), shared = below(r, 4) ? MAP_SHARED : MAP_PRIVATE;

	switch (below(r, 14)) {
	case 0:
		munmap((void *)start, size);
		break;
	case 1:
		mprotect((void *)start, size, prot);
		break;
	case 2:
		mmap((void *)start, size, prot, shared | MAP_FIXED, enclave.fd, 0);
		break;
	case 3:
		mmap((void *)start, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case 4:
		mremap((void *)start, size, length(r, target), below(r, 8), target);
		break;
	case 5:
		madvise((void *)start, size, advice[below(r, 11)]);
		break;
	case 6:
	case 7:
		ioctl(enclave.fd, numbers[below(r, 7)], words);
		break;
	case 8:
		syscall(SYS_remap_file_pages, start, size, 0ul, below(r, 16), 0ul);
		break;
	case 9:
		if (start > (uint64_t)enclave.base + enclave.size - SEGMENT)
			start = (uint64_t)enclave.base + enclave.size - SEGMENT; /* as `length` has it */
		shmat(segment, (void *)start, below(r, 4) ? SHM_REMAP : 0);
		break;
	case 10:
		look(r, start, size);
		break;
	case 11:
	case 12:
		kill(getpid(), SIGUSR1);
		break;
	default:
		if (below(r, 3)) {
			close(dup(enclave.fd));
			close(open("/dev/sgx_enclave", O_RDWR));
		} else if (!(start = vfork())) {
			_exit(0);
		} else {
			waitpid(start, NULL, 0);
		}
	}
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
}

static void *calls(void *seed)
{
	struct random random = { 0x9e3779b97f4a7c15 * (uint64_t)seed };

	for (int i = 0; i < CALLS; i++)
		if (below(&random, 2))
			enter(&random);
		else
			call(&random);
	return NULL;
}

static void child(uint64_t seed)
{
	struct enclave_options options = { .heap_pages = 20, .spare_pages = 20 };
	pthread_t thread;

	alarm(5); /* an enclave may loop for ever, but not hold the test */
	freopen("/dev/null", "w", stdout);
	freopen("/dev/null", "w", stderr); /* a broken enclave may well break its program, which libc then says */
	handle(SIGUSR1, on_signal);
	enclave_load(&enclave, &options);
	pthread_create(&thread, NULL, calls, (void *)(2 * seed + 1));
	calls((void *)(2 * seed + 2));
	pthread_join(thread, NULL);
	_exit(0);
}

int main(int argc, char **argv)
{
	uint64_t first = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	struct enclave own;

	enclave_load(&own, NULL);
	segment = shmget(IPC_PRIVATE, SEGMENT, 0600);
	for (uint64_t seed = first; seed < first + CHILDREN; seed++) {
		pid_t pid;
		int status;

		fflush(stdout);
		pid = fork();
		if (!pid)
			child(seed);
		waitpid(pid, &status, 0);
		printf("# seed %lu: status %#x\n", seed, status);
		ok_eq(ask(enclave_tcs(&own, 0), OP_ADD, seed, 1, 0), seed + 1, "the parent's enclave works");
	}
	shmctl(segment, IPC_RMID, NULL);
	return done();
}
