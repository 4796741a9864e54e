/*
 * Threads wait in the calls that a stop interrupts, those of signal(7) that are not restarted among them, while another
 * thread does what concerns the machine alone: `open` the device for the first time; `evict` pages of an enclave of
 * theirs; or another process does that (`elsewhere`), for which the first thread waits in epoll_wait. Nobody sends a
 * signal: each call ends by itself. `native`: the same without SGX.
 */
#include "enclave.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

static const struct timespec while_ = { 0, 700000000 };
static const struct timeval while_val = { 0, 700000 };
#define WHILE_MS 700

static pthread_barrier_t begun;
static volatile bool disturbed; /* what the other thread had to do, it has done */

/* What ends the calls that have no time limit of their own. */
static int sockets[2], pipes[2], full[2], events, watch, queue_full, queue_empty;
static sem_t semaphore;
static uint32_t word;

static sigset_t usr2(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return set;
}

/* What calls with a mask have in force meanwhile: all but a signal that the threads block. */
static sigset_t other_mask(void)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGSEGV);
	return set;
}

static struct timespec deadline(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	at.tv_nsec += while_.tv_nsec;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return at;
}

static long w_epoll_wait(void)
{
	struct epoll_event event;

	return epoll_wait(epoll_create1(0), &event, 1, WHILE_MS);
}

static long w_epoll_pwait(void)
{
	struct epoll_event event;
	sigset_t set = other_mask();

	return epoll_pwait(epoll_create1(0), &event, 1, WHILE_MS, &set);
}

static long w_epoll_pwait2(void)
{
	struct epoll_event event;
	sigset_t set = other_mask();

	return syscall(441, epoll_create1(0), &event, 1, &while_, &set, 8ul);
}

static long w_poll(void)
{
	return poll(NULL, 0, WHILE_MS);
}

static long w_ppoll(void)
{
	struct timespec time = while_;
	sigset_t set = other_mask();

	return ppoll(NULL, 0, &time, &set);
}

static long w_select(void)
{
	struct timeval time = while_val;

	return select(0, NULL, NULL, NULL, &time);
}

static long w_pselect(void)
{
	sigset_t set = other_mask();

	return pselect(0, NULL, NULL, NULL, &while_, &set);
}

static long w_sigtimedwait(void)
{
	sigset_t set = usr2();

	return sigtimedwait(&set, NULL, &while_);
}

static long w_sigtimedwait_synchronous(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	sigaddset(&set, SIGILL);
	return sigtimedwait(&set, NULL, &while_);
}

static long w_sigwaitinfo(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
	struct itimerspec when = { .it_value = while_ };
	timer_t timer;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &when, NULL);
	return sigwaitinfo(&set, NULL) == SIGRTMIN ? 0 : -1;
}

static long w_semtimedop(void)
{
	int semaphores = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf operation = { 0, -1, 0 };
	long result = semtimedop(semaphores, &operation, 1, &while_);
	int error = errno;

	semctl(semaphores, 0, IPC_RMID);
	errno = error;
	return result;
}

static long w_msgrcv(void)
{
	struct { long type; char text[8]; } message;

	return msgrcv(queue_empty, &message, sizeof message.text, 0, 0) >= 0 ? 0 : -1;
}

static long w_msgsnd(void)
{
	struct { long type; char text[1024]; } message = { .type = 1 };

	return msgsnd(queue_full, &message, sizeof message.text, 0);
}

static long limited(int option, int fd)
{
	return setsockopt(fd, SOL_SOCKET, option, &while_val, sizeof while_val);
}

static long w_recv(void)
{
	char byte;

	limited(SO_RCVTIMEO, sockets[0]);
	return recv(sockets[0], &byte, 1, 0);
}

static long w_recvmsg(void)
{
	struct msghdr message = { 0 };
	int pair[2];

	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	limited(SO_RCVTIMEO, pair[0]);
	return recvmsg(pair[0], &message, 0);
}

static long w_recvmmsg(void)
{
	struct timespec time = while_;
	struct mmsghdr message = { 0 };
	int pair[2];

	socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
	limited(SO_RCVTIMEO, pair[0]);
	return recvmmsg(pair[0], &message, 1, 0, &time);
}

static long w_send(void)
{
	static char much[1 << 16];
	int pair[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	while (send(pair[0], much, sizeof much, MSG_DONTWAIT) > 0)
		continue;
	limited(SO_SNDTIMEO, pair[0]);
	return send(pair[0], much, sizeof much, 0);
}

static int listener(struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	static _Atomic int count;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "waits-%d-%d", getpid(), count++);
	bind(fd, (struct sockaddr *)address, sizeof *address);
	listen(fd, 0);
	return fd;
}

static long w_accept(void)
{
	struct sockaddr_un address;
	int fd = listener(&address);

	limited(SO_RCVTIMEO, fd);
	return accept(fd, NULL, NULL);
}

static long w_connect(void)
{
	struct sockaddr_un address;
	long result;
	int fd;

	listener(&address);
	do {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		limited(SO_SNDTIMEO, fd);
		result = connect(fd, (struct sockaddr *)&address, sizeof address);
	} while (!result);
	return result;
}

static long w_io_getevents(void)
{
	struct timespec time = while_;
	struct io_event event;
	aio_context_t context = 0;

	syscall(SYS_io_setup, 1, &context);
	return syscall(SYS_io_getevents, context, 1, 1, &event, &time);
}

static long w_io_pgetevents(void)
{
	struct timespec time = while_;
	struct io_event event;
	aio_context_t context = 0;
	sigset_t set = other_mask();
	struct { sigset_t *set; size_t size; } mask = { &set, 8 };

	syscall(SYS_io_setup, 1, &context);
	return syscall(333, context, 1, 1, &event, &time, &mask);
}

static long w_io_uring_enter(void)
{
	struct io_uring_params params = { 0 };
	struct { uint64_t set; uint32_t size, pad; uint64_t time; } argument = { 0 };
	struct { int64_t seconds, nanoseconds; } time = { 0, while_.tv_nsec };
	int ring = syscall(425, 1, &params);
	sigset_t set = other_mask();

	if (ring < 0) { /* forbidden here, to everybody */
		errno = ETIME;
		return -1;
	}
	argument.set = (uint64_t)&set;
	argument.size = 8;
	argument.time = (uint64_t)&time;
	return syscall(426, ring, 0, 1, 1 | 1 << 3, &argument, sizeof argument);
}

static long w_nanosleep(void)
{
	return nanosleep(&while_, NULL);
}

static long w_clock_nanosleep(void)
{
	struct timespec at = deadline(CLOCK_MONOTONIC);
	int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);

	errno = error;
	return error ? -1 : 0;
}

static long w_futex(void)
{
	return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &while_, NULL, 0);
}

static long w_futex_bitset(void)
{
	struct timespec at = deadline(CLOCK_MONOTONIC);

	return syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, &at, NULL, -1);
}

static long w_sem_timedwait(void)
{
	struct timespec at = deadline(CLOCK_REALTIME);

	return sem_timedwait(&semaphore, &at);
}

static mqd_t message_queue(void)
{
	struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 8 };
	static _Atomic int count;
	char name[64];
	mqd_t queue;

	snprintf(name, sizeof name, "/waits-%d-%d", getpid(), count++);
	queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
	mq_unlink(name);
	return queue;
}

static long w_mq_timedreceive(void)
{
	struct timespec at = deadline(CLOCK_REALTIME);
	char text[8];

	return mq_timedreceive(message_queue(), text, sizeof text, NULL, &at);
}

static long w_mq_timedsend(void)
{
	struct timespec at = deadline(CLOCK_REALTIME);
	mqd_t queue = message_queue();

	mq_send(queue, "full", 4, 0);
	return mq_timedsend(queue, "more", 4, 0, &at);
}

static long w_read_pipe(void)
{
	char byte;

	return read(pipes[0], &byte, 1) == 1 ? 0 : -1;
}

static long w_write_pipe(void)
{
	return write(full[1], "x", 1) == 1 ? 0 : -1;
}

static long w_read_eventfd(void)
{
	uint64_t count;

	return read(events, &count, 8) == 8 ? 0 : -1;
}

static long w_read_inotify(void)
{
	char event[4096];

	return read(watch, event, sizeof event) > 0 ? 0 : -1;
}

static long w_open_fifo(void)
{
	char name[] = "/tmp/waits-XXXXXX", fifo[64];
	int fd;

	mkdtemp(name);
	snprintf(fifo, sizeof fifo, "%s/fifo", name);
	mkfifo(fifo, 0600);
	if (!fork()) {
		usleep(WHILE_MS * 1000);
		_exit(open(fifo, O_WRONLY) < 0);
	}
	fd = open(fifo, O_RDONLY);
	unlink(fifo);
	rmdir(name);
	return fd < 0 ? -1 : 0;
}

static long w_flock(void)
{
	int fd = memfd_create("lock", 0), own;
	char name[64];

	snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
	own = open(name, O_RDWR);
	flock(own, LOCK_EX);
	if (!fork()) {
		usleep(WHILE_MS * 1000);
		flock(own, LOCK_UN);
		_exit(0);
	}
	return flock(fd, LOCK_EX);
}

static long w_fcntl_setlkw(void)
{
	struct flock lock = { .l_type = F_WRLCK };
	int fd = memfd_create("lock", 0), ready[2];
	char byte;

	pipe(ready);
	if (!fork()) {
		fcntl(fd, F_SETLK, &lock);
		write(ready[1], "x", 1);
		usleep(WHILE_MS * 1000);
		_exit(0);
	}
	read(ready[0], &byte, 1);
	return fcntl(fd, F_SETLKW, &lock);
}

static long w_wait4(void)
{
	pid_t pid = fork();

	if (!pid) {
		usleep(WHILE_MS * 1000);
		_exit(0);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static long w_waitid(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (!pid) {
		usleep(WHILE_MS * 1000);
		_exit(0);
	}
	return waitid(P_PID, pid, &info, WEXITED);
}

/* In the order of signal(7): what is restarted after a handler, then what never is. `error`: of the time limit. */
static const struct call {
	const char *name;
	long (*wait)(void);
	int error;
} calls[] = {
	{ "read of a pipe", w_read_pipe, 0 },
	{ "write to a pipe", w_write_pipe, 0 },
	{ "read of an eventfd", w_read_eventfd, 0 },
	{ "open of a FIFO", w_open_fifo, 0 },
	{ "wait4", w_wait4, 0 },
	{ "waitid", w_waitid, 0 },
	{ "flock", w_flock, 0 },
	{ "fcntl F_SETLKW", w_fcntl_setlkw, 0 },
	{ "mq_timedreceive", w_mq_timedreceive, ETIMEDOUT },
	{ "mq_timedsend", w_mq_timedsend, ETIMEDOUT },
	{ "futex FUTEX_WAIT", w_futex, ETIMEDOUT },
	{ "futex FUTEX_WAIT_BITSET", w_futex_bitset, ETIMEDOUT },
	{ "sem_timedwait", w_sem_timedwait, ETIMEDOUT },
	{ "read of inotify", w_read_inotify, 0 },
	{ "recv with SO_RCVTIMEO", w_recv, EAGAIN },
	{ "recvmsg with SO_RCVTIMEO", w_recvmsg, EAGAIN },
	{ "recvmmsg with SO_RCVTIMEO", w_recvmmsg, EAGAIN },
	{ "send with SO_SNDTIMEO", w_send, EAGAIN },
	{ "accept with SO_RCVTIMEO", w_accept, EAGAIN },
	{ "connect with SO_SNDTIMEO", w_connect, EAGAIN },
	{ "sigtimedwait", w_sigtimedwait, EAGAIN },
	{ "sigtimedwait for SIGSEGV", w_sigtimedwait_synchronous, EAGAIN },
	{ "sigwaitinfo", w_sigwaitinfo, 0 },
	{ "epoll_wait", w_epoll_wait, 0 },
	{ "epoll_pwait", w_epoll_pwait, 0 },
	{ "epoll_pwait2", w_epoll_pwait2, 0 },
	{ "poll", w_poll, 0 },
	{ "ppoll", w_ppoll, 0 },
	{ "select", w_select, 0 },
	{ "pselect6", w_pselect, 0 },
	{ "msgrcv", w_msgrcv, 0 },
	{ "msgsnd", w_msgsnd, 0 },
	{ "semtimedop", w_semtimedop, EAGAIN },
	{ "clock_nanosleep", w_clock_nanosleep, 0 },
	{ "nanosleep", w_nanosleep, 0 },
	{ "io_getevents", w_io_getevents, 0 },
	{ "io_pgetevents", w_io_pgetevents, 0 },
	{ "io_uring_enter", w_io_uring_enter, ETIME },
};
#define CALLS (sizeof calls / sizeof *calls)

static struct { long result; int error; bool waited; sigset_t mask; } ends[CALLS];

static void *waits(void *argument)
{
	size_t i = (size_t)argument;

	pthread_barrier_wait(&begun);
	errno = 0;
	ends[i].result = calls[i].wait();
	ends[i].error = errno;
	ends[i].waited = disturbed;
	pthread_sigmask(SIG_SETMASK, NULL, &ends[i].mask);
	return NULL;
}

static void prepare(void)
{
	struct { long type; char text[1024]; } message = { .type = 1 };
	static char much[1 << 16];

	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	pipe(pipes);
	pipe2(full, O_NONBLOCK);
	while (write(full[1], much, sizeof much) > 0)
		continue;
	fcntl(full[1], F_SETFL, 0);
	events = eventfd(0, 0);
	watch = inotify_init();
	inotify_add_watch(watch, "/tmp", IN_CREATE);
	queue_empty = msgget(IPC_PRIVATE, 0600);
	queue_full = msgget(IPC_PRIVATE, 0600);
	while (!msgsnd(queue_full, &message, sizeof message.text, IPC_NOWAIT))
		continue;
	sem_init(&semaphore, 0, 0);
}

/* The calls without a time limit end when their time is over. */
static void finish(void)
{
	struct { long type; char text[1024]; } message = { .type = 1 };
	static char much[1 << 16];
	char name[] = "/tmp/waits-XXXXXX";

	write(pipes[1], "x", 1);
	fcntl(full[0], F_SETFL, O_NONBLOCK);
	while (read(full[0], much, sizeof much) > 0)
		continue;
	eventfd_write(events, 1);
	close(mkstemp(name));
	unlink(name);
	msgsnd(queue_empty, &message, 8, 0);
	msgrcv(queue_full, &message, sizeof message.text, 0, 0);
}

static void touch(const struct enclave *enclave, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		ask(enclave_tcs(enclave, 0), OP_WRITE, (uint64_t)enclave->base + enclave->heap + i * PAGE, i, 0);
}

/* Another process: it says so when it has filled the EPC with an enclave of its own, and ends with the first one. */
static void fill(int go, int filled)
{
	struct enclave_options options = { .heap_pages = 200 };
	struct enclave enclave;
	char byte;

	if (read(go, &byte, 1) == 1)
		enclave_load(&enclave, &options);
	write(filled, "x", 1);
	read(go, &byte, 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct enclave_options options = { .heap_pages = 200 };
	bool natively = argc > 2 && !strcmp(argv[2], "native"), evict = argc > 1 && !strcmp(argv[1], "evict");
	bool elsewhere = argc > 1 && !strcmp(argv[1], "elsewhere");
	struct epoll_event filled_event = { .events = EPOLLIN };
	int go[2], filled[2], epoll = epoll_create1(0);
	pthread_t threads[CALLS];
	struct enclave enclave;
	sigset_t blocked, mask;

	sigfillset(&blocked);
	for (int signo = 1; signo < 32; signo++)
		if (signo != SIGILL && signo != SIGSEGV && signo != SIGUSR2)
			sigdelset(&blocked, signo);
	sigprocmask(SIG_BLOCK, &blocked, &mask);
	prepare();
	pipe(go);
	pipe(filled);
	epoll_ctl(epoll, EPOLL_CTL_ADD, filled[0], &filled_event);
	if (elsewhere && !natively && !fork()) {
		close(go[1]);
		fill(go[0], filled[1]);
	}
	if ((evict || elsewhere) && !natively) {
		enclave_load(&enclave, &options);
		touch(&enclave, elsewhere ? options.heap_pages : 0);
	}
	pthread_barrier_init(&begun, NULL, CALLS + 1);
	for (size_t i = 0; i < CALLS; i++)
		pthread_create(&threads[i], NULL, waits, (void *)i);
	pthread_barrier_wait(&begun);
	usleep(WHILE_MS * 300);
	if (elsewhere && !natively) {
		write(go[1], "x", 1);
		ok_eq(epoll_wait(epoll, &filled_event, 1, -1), 1, "epoll_wait of the first thread");
	} else if (!natively) {
		if (!evict)
			enclave_load(&enclave, &options);
		touch(&enclave, options.heap_pages);
	}
	disturbed = true;
	close(go[1]);
	usleep(WHILE_MS * 1000);
	finish();
	for (size_t i = 0; i < CALLS; i++)
		pthread_join(threads[i], NULL);
	msgctl(queue_empty, IPC_RMID, NULL);
	msgctl(queue_full, IPC_RMID, NULL);
	while (wait(NULL) > 0)
		continue;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (size_t i = 0; i < CALLS; i++) {
		bool right = calls[i].error ? ends[i].result < 0 && ends[i].error == calls[i].error : ends[i].result == 0;

		if (!ok(right && !memcmp(&ends[i].mask, &blocked, 8), "%s", calls[i].name))
			printf("# %ld, %s\n", ends[i].result, strerror(ends[i].error));
	}
	return done();
}
