/*
 * An enclave by the Fortanix SGX ABI, for the tests.  As a program, it does what its second argument says; "calls" does
 * the usercalls that standard input lists, five numbers each, and writes their results to standard output.
 */
#include <stddef.h>
#include <stdint.h>

struct results {
	uint64_t rsi, rdx;
};

struct buffer {
	const uint8_t *data;
	uint64_t length;
};

struct results usercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

enum {
	READ = 1, READ_ALLOC, WRITE, FLUSH, CLOSE, BIND, ACCEPT, CONNECT, LAUNCH, EXIT, WAIT, SEND, TIME, ALLOC, FREE, QUEUES,
};
enum { SUCCESS = 0, WAIT_FOR_EVER = -1, UNPARK = 4 };

static volatile uint64_t launched, sum;

static uint64_t tcs(void)
{
	uint64_t found;

	__asm__("mov %%gs:56, %0" : "=r"(found));
	return found;
}

static void copy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}

static _Noreturn void quit(uint64_t panic)
{
	usercall(EXIT, panic, 0, 0, 0);
	for (;;)
		;
}

static _Noreturn void panic(const char *text)
{
	char *buffer;
	size_t i = 0;

	__asm__("mov %%gs:48, %0" : "=r"(buffer));
	for (; text[i]; i++)
		((volatile char *)buffer)[i] = text[i];
	((volatile char *)buffer)[i] = 0;
	quit(1);
}

static void write_all(uint64_t fd, const void *data, uint64_t size)
{
	struct results at;

	if (!size)
		return;
	at = usercall(ALLOC, size, 8, 0, 0);
	if (at.rsi || !at.rdx)
		panic("no memory");
	copy((void *)at.rdx, data, size);
	for (uint64_t done = 0; done < size;) {
		struct results written = usercall(WRITE, fd, at.rdx + done, size - done, 0);

		if (written.rsi || !written.rdx)
			panic("cannot write");
		done += written.rdx;
	}
	usercall(FREE, at.rdx, size, 8, 0);
}

static uint64_t read_some(uint64_t fd, void *data, uint64_t size)
{
	struct results at = usercall(ALLOC, size, 8, 0, 0), got = usercall(READ, fd, at.rdx, size, 0);

	if (got.rsi)
		panic("cannot read");
	copy(data, (void *)at.rdx, got.rdx);
	usercall(FREE, at.rdx, size, 8, 0);
	return got.rdx;
}

static void calls(void)
{
	uint64_t request[5];

	while (read_some(0, request, sizeof(request)) == sizeof(request)) {
		struct results results = usercall(request[0], request[1], request[2], request[3], request[4]);

		write_all(1, &results, sizeof(results));
	}
}

/* Three threads, each of which waits to be woken, adds and wakes the main thread. */
static void threads(void)
{
	uint64_t total;

	for (int i = 0; i < 3; i++)
		if (usercall(LAUNCH, 0, 0, 0, 0).rsi)
			panic("cannot launch");
	while (launched < 3)
		usercall(WAIT, UNPARK, 1000 * 1000, 0, 0);
	usercall(SEND, 2, 0, 0, 0);
	while (sum < 3)
		usercall(WAIT, UNPARK, WAIT_FOR_EVER, 0, 0);
	total = sum;
	write_all(1, &total, sizeof(total));
}

static volatile uint64_t main_tcs;

static void secondary(void)
{
	struct results got;

	__atomic_fetch_add(&launched, 1, __ATOMIC_SEQ_CST);
	got = usercall(WAIT, 2, WAIT_FOR_EVER, 0, 0);
	if (got.rsi || got.rdx != 2)
		panic("another event");
	__atomic_fetch_add(&sum, 1, __ATOMIC_SEQ_CST);
	usercall(SEND, UNPARK, main_tcs, 0, 0);
}

static volatile char task;

static void echo(void)
{
	uint8_t data[256];

	for (uint64_t n; (n = read_some(0, data, sizeof(data)));)
		write_all(1, data, n);
}

static void arguments(const struct buffer *given, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		write_all(1, given[i].data, given[i].length);
		write_all(1, "\n", 1);
	}
}

uint64_t enclave_main(const struct buffer *given, uint64_t count, uint64_t third, uint64_t is_secondary)
{
	(void)third;
	if (is_secondary) {
		if (task == 'x')
			quit(0);
		if (task == 'f')
			*(volatile int *)8 = 1;
		if (task == 's')
			for (;;)
				;
		secondary();
		return 0;
	}
#ifdef LIBRARY
	return (uint64_t)given == 7 ? (quit(0), 0) : (uint64_t)given + count + third;
#endif
	main_tcs = tcs();
	if (count < 2)
		quit(0);
	task = given[1].length ? given[1].data[0] : 0;
	switch (task) {
	case 'a':
		arguments(given, count);
		break;
	case 'c':
		calls();
		break;
	case 'e':
		echo();
		break;
	case 'p':
		panic("as asked");
	case 'q':
		quit(1);
	case 'r':
		return 0;
	case 't':
		threads();
		break;
	case 'l':
		for (;;)
			;
	case 's': /* a thread that never comes back */
		usercall(LAUNCH, 0, 0, 0, 0);
		break;
	case 'i': /* a thread that waits for this one, which waits for it */
		usercall(LAUNCH, 0, 0, 0, 0);
		usercall(WAIT, UNPARK, WAIT_FOR_EVER, 0, 0);
		break;
	case 'x': /* another thread ends the program, or faults, while this one computes */
	case 'f':
		usercall(LAUNCH, 0, 0, 0, 0);
		for (;;)
			;
	case 'z':
		usercall(WAIT, 0, WAIT_FOR_EVER, 0, 0);
		break;
	}
	quit(0);
	return 0;
}
