/* Two processes enter one enclave, whose EEXITs the one has made jumps of its own before the other maps it: in turn, at
   once, while either unmaps it and when either has ended.  Every result is right. */
#include "enclave.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define CALLS 100
#define AT_ONCE 1000

enum { LOADER, GUEST };

/* What both see. */
static struct {
	pthread_barrier_t barrier;
	struct enclave enclave;
	pid_t pids[2];
	_Atomic long stayed; /* entries of the one that stays */
	_Atomic int finished;
	_Atomic bool is_back;
} *shared;

static struct enclave enclave;
static int who;

static void meet(void)
{
	pthread_barrier_wait(&shared->barrier);
}

/* By two TCSes in turn, which leave by an EEXIT each, as the other's two do. */
static void enter(const char *when, long times)
{
	static long turn;

	for (long i = 0; i < times; i++) {
		struct request request = { .op = OP_ADD, .a = i, .b = getpid() };
		struct outcome got = attempt(enclave_tcs(&enclave, 2 * who + turn++ % 2), &request, EENTER);

		if (got.function == EEXIT && request.result == i + request.b)
			continue;
		printf("# %s, %s, entry %ld: leaf %u, vector %d, error code %#x, address %#lx\n",
		       who == LOADER ? "loader" : "guest", when, i, got.function, got.vector, got.error, got.address);
		fflush(stdout);
		kill(shared->pids[!who], SIGKILL);
		_exit(1);
	}
}

/* While the other goes on entering. */
static void leave(void)
{
	for (long i = 0; i < 3; i++) {
		for (long before = shared->stayed; shared->stayed < before + CALLS; )
			usleep(50);
		munmap(enclave.base, enclave.size);
		for (long before = shared->stayed; shared->stayed < before + CALLS; )
			usleep(50);
		enclave_map(&enclave);
		enter("mapped again", CALLS);
	}
	shared->is_back = true;
	meet();
}

static void stay(void)
{
	struct pollfd other;

	for (; !shared->is_back; shared->stayed++)
		enter("while the other unmaps and maps", 1);
	other = (struct pollfd){ .fd = syscall(SYS_pidfd_open, shared->pids[!who], 0), .events = POLLIN };
	meet();
	while (poll(&other, 1, 0) != 1)
		enter("while the other ends", CALLS);
	enter("alone", CALLS);
}

/* Both do this, from when both have it mapped. */
static void together(int leaver)
{
	for (int i = 0; i < 2 * CALLS; i++) {
		if (i % 2 == who)
			enter("in turn", 1);
		meet();
	}
	enter("at once", AT_ONCE);
	meet();
	if (who == leaver)
		leave();
	else
		stay();
	shared->finished++;
	_exit(0);
}

static void guest(int descriptor, int leaver)
{
	who = GUEST;
	shared->pids[GUEST] = getpid();
	enclave = shared->enclave;
	enclave.fd = descriptor;
	enclave_map(&enclave);
	meet();
	together(leaver);
}

static void loader(int socket, bool forks, int leaver)
{
	shared->pids[LOADER] = getpid();
	enclave_load(&enclave, NULL);
	shared->enclave = enclave;
	enter("at first", CALLS);
	if (forks && !fork())
		guest(enclave.fd, leaver);
	if (!forks)
		send_descriptor(socket, enclave.fd);
	meet();
	together(leaver);
}

static void test(bool forks, int leaver)
{
	pthread_barrierattr_t attributes;
	int sockets[2], status, failed = 0;

	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, 2);
	shared->finished = shared->stayed = shared->is_back = 0;
	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	if (!fork())
		loader(sockets[0], forks, leaver);
	if (!forks && !fork())
		guest(receive_descriptor(sockets[1]), leaver);
	while (wait(&status) > 0)
		failed += status != 0;
	close(sockets[0]);
	close(sockets[1]);
	ok(!failed && shared->finished == 2, "%s the descriptor, the %s leaves first", forks ? "a child has" : "another gets",
	   leaver == LOADER ? "loader" : "guest");
}

int main(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (int forks = 0; forks < 2; forks++)
		for (int leaver = LOADER; leaver <= GUEST; leaver++)
			test(forks, leaver);
	return done();
}
