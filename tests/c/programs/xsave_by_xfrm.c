/*
 * Instructions that depend on XCR0 go by XFRM in an enclave, wherever their code comes from, however it is reached, and
 * whatever else looks like one of them; nobody sees anything of it.
 */
#include "enclave.h"

#include "enclu_sgx.h"

#include <cpuid.h>
#include <sys/socket.h>

#define HEADER 512
#define IMAGE 16384
#define ALL 0xffffffffull
#define ATTRIBUTES_DEBUG 2
#define RX (PT_REG_FLAGS | 5)
#define RWX (PT_REG_FLAGS | 7)
#define HEAP 400 /* pages: more than an EPC of 1M has */
#define FORMS 6
#define STEP 64  /* bytes between forms that share a page */

static const struct { const char *name, *code; bool compacts; } forms[FORMS] = {
	{ "XSAVE", "\x0f\xae\x21", false },
	{ "XSAVE64", "\x48\x0f\xae\x21", false },
	{ "XSAVEC", "\x0f\xc7\x21", true },
	{ "XSAVEC64", "\x48\x0f\xc7\x21", true },
	{ "XSAVEOPT", "\x3e\x0f\xae\x31", false },
	{ "XSAVEOPT64", "\x67\x48\x0f\xae\x31", false }, /* with addresses of 32 bits */
};
static const char xgetbv[] = "\x0f\x01\xd0\x48\xc1\xe2\x20\x48\x09\xd0\xc3"; /* RAX = EDX:EAX */
static const char xrstor[] = "\x48\x0f\xae\x29\xc3";
static const char by_rax[] = "\x0f\xae\x20\xc3";
static const char immediate[] = "\x48\xb8\x0f\xae\x21\xc3\x90\x90\x90\x90\xc3"; /* mov imm64, rax; in it XSAVE and RET */
static const char writes_itself[] = "\xc6\x05\x03\x00\x00\x00\x2a\x31\xc0\xb0\x00\xc3"; /* AL = 0, which becomes 42 */

static struct enclave enclave;
static uint8_t *heap, *spare, *image;
static uint64_t xfrm, end;

/* The enclave writes code to memory of its own. */
static void put(void *tcs, uint8_t *at, const char *code, uint64_t size)
{
	char padded[(size + 7) & ~7ul];

	memset(padded, 0x90, sizeof(padded));
	memcpy(padded, code, size);
	for (uint64_t i = 0; i < sizeof(padded); i += 8)
		ask(tcs, OP_WRITE, (uint64_t)at + i, *(uint64_t *)(padded + i), 0);
}

static void put_form(void *tcs, uint8_t *at, int form)
{
	char code[8];
	int size = snprintf(code, sizeof(code), "%s\xc3", forms[form].code);

	put(tcs, at, code, size);
}

static struct outcome call(void *tcs, const uint8_t *code, uint64_t mask, void *rcx, uint64_t *result)
{
	struct request request = { .op = OP_CALL, .a = (uint64_t)code, .b = mask & ALL, .c = (uint64_t)rcx, .d = mask >> 32 };
	struct outcome outcome = attempt(tcs, &request, EENTER);

	if (result)
		*result = request.result;
	return outcome;
}

/* What is saved to memory behind `to` that had nothing is as XFRM has it. */
static bool saved(void *tcs, const uint8_t *code, uint8_t *to, bool compacts)
{
	uint64_t header[2], i;
	struct outcome outcome;

	memset(to, 0xee, IMAGE);
	memset(to + HEADER, 0, 64);
	outcome = call(tcs, code, ~0ull, to, NULL);
	memcpy(header, to + HEADER, 16);
	for (i = end; i < IMAGE && to[i] == 0xee; i++)
		;
	if (outcome.function == EEXIT && i == IMAGE && !(header[0] & ~xfrm) && header[1] == (compacts ? xfrm | 1ull << 63 : 0))
		return true;
	printf("# left by %u, vector %d (%#x at %#llx); %#llx written; header %#llx %#llx\n", outcome.function, outcome.vector,
	       outcome.error, (unsigned long long)outcome.address,
	       (unsigned long long)i, (unsigned long long)header[0], (unsigned long long)header[1]);
	return false;
}

static void accept_copy(void *tcs, uint8_t *page, uint64_t flags)
{
	ok_eq(ask(tcs, OP_EACCEPTCOPY, (uint64_t)page, flags, (uint64_t)heap), 0, "code is accepted");
}

/* Have the pages before evicted, where the EPC is small. */
static void use_others(void *tcs)
{
	for (int i = 1; i < HEAP; i++)
		ask(tcs, OP_READ, (uint64_t)heap + i * PAGE, 0, 0);
}

static bool bytes_are(const uint8_t *address, const char *code, uint64_t size)
{
	uint8_t got[size];

	return !enclave_access(&enclave, address, got, size, 0) && !memcmp(got, code, size);
}

static void *saver(void *which)
{
	uint64_t index = (uint64_t)which, good = 0;
	void *tcs = enclave_tcs(&enclave, 1 + index);
	uint8_t *to = image + (1 + index) * IMAGE;

	for (int i = 0; i < 40; i++)
		good += saved(tcs, spare + (i * (index + 1) % FORMS) * PAGE, to, forms[i * (index + 1) % FORMS].compacts);
	return (void *)good;
}

static void by_threads(void)
{
	pthread_t threads[2];
	void *good;

	for (uint64_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, saver, (void *)i);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &good);
		ok_eq(good, 40, "two threads at once, by all forms in turn");
	}
}

/* Another process, which has been sent the enclave. */
static int receiver(int socket, int go)
{
	int good = 0;
	uint8_t *code;

	if (read(go, &enclave, sizeof(enclave)) != sizeof(enclave))
		return 100;
	enclave.fd = receive_descriptor(socket);
	for (int i = 0; i < 3; i++) {
		uint64_t start[] = { 0, enclave.text, enclave.data, enclave.spare };
		int prot[] = { PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE };

		if (mmap(enclave.base + start[i], start[i + 1] - start[i], prot[i], MAP_SHARED | MAP_FIXED, enclave.fd, 0)
		    == MAP_FAILED)
			return 101;
	}
	code = mmap(enclave.base + enclave.spare, FORMS * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, enclave.fd, 0);
	for (int i = 0; i < FORMS; i++)
		good += saved(enclave_tcs(&enclave, 3), code + i * PAGE, image, forms[i].compacts);
	return good;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = HEAP, .spare_pages = FORMS + 4, .attributes = ATTRIBUTES_DEBUG };
	uint8_t *shared, *mixed, *both, *middle, *last;
	unsigned int eax, ebx, ecx, edx;
	uint64_t result, mask;
	int sockets[2], go[2], status;
	struct enclave sent;
	void *tcs;
	pid_t child;

	__cpuid_count(0xd, 1, eax, ebx, ecx, edx);
	if ((eax & 3) != 3 || !__builtin_cpu_supports("avx")) {
		ok(true, "# SKIP this processor has no XSAVEC or no XSAVEOPT, or no AVX");
		return done();
	}
	/* Below 4 GiB: one of the forms has addresses of 32 bits. */
	image = mmap(NULL, 4 * IMAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	pipe(go);
	xfrm = options.xfrm = 3;
	end = 576;
	child = fork(); /* before this process itself has opened anything */
	if (!child)
		_exit(receiver(sockets[1], go[0]));
	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	heap = enclave.base + enclave.heap;
	spare = enclave.base + enclave.spare;
	if (mmap(spare, (FORMS + 4) * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, enclave.fd, 0) != spare)
		return 2;
	shared = spare + FORMS * PAGE, mixed = shared + PAGE, both = mixed + PAGE;

	for (int i = 0; i < FORMS; i++) {
		put_form(tcs, heap, i);
		accept_copy(tcs, spare + i * PAGE, RX);
	}
	for (int i = 0; i < FORMS; i++)
		ok(saved(tcs, spare + i * PAGE, image, forms[i].compacts), "%s on a page of its own", forms[i].name);
	for (int i = 0; i < FORMS; i++)
		put_form(tcs, heap + i * STEP, i);
	accept_copy(tcs, shared, RX);
	use_others(tcs);
	for (int i = 0; i < FORMS; i++)
		ok(saved(tcs, shared + i * STEP, image, forms[i].compacts), "%s on a page with all others", forms[i].name);
	for (int i = 0; i < FORMS; i++) {
		use_others(tcs);
		ok(saved(tcs, spare + i * PAGE, image, forms[i].compacts), "%s again", forms[i].name);
		expect_fault("not aligned", call(tcs, spare + i * PAGE, ~0ull, image + 1, NULL), ERESUME, 13, 0, 0);
		drop_frame(tcs);
	}
	by_threads();

	put(tcs, heap, xgetbv, sizeof(xgetbv) - 1);
	put(tcs, heap + STEP, xrstor, sizeof(xrstor) - 1);
	put(tcs, heap + 2 * STEP, immediate, sizeof(immediate) - 1);
	put(tcs, heap + 3 * STEP, by_rax, sizeof(by_rax) - 1);
	accept_copy(tcs, mixed, RX);
	expect_exit("XGETBV", call(tcs, mixed, 0, 0, &result));
	ok_eq(result, xfrm, "XCR0 is XFRM");
	expect_exit("XGETBV of what is in use", call(tcs, mixed, 0, (void *)1, &result));
	ok_eq(result & ~xfrm, 0, "nothing outside XFRM is");
	expect_fault("XGETBV of what is not there", call(tcs, mixed, 0, (void *)2, NULL), ERESUME, 13, 0, 0);
	drop_frame(tcs);

	memset(image, 0, IMAGE);
	memcpy(image + 24, &(uint32_t){ 0x1f80 }, 4);
	memcpy(image + HEADER, &xfrm, 8);
	expect_exit("XRSTOR with a mask of ones", call(tcs, mixed + STEP, ~0ull, image, NULL));
	last = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	munmap(last + PAGE, PAGE);
	memcpy(last + PAGE - (HEADER + 64), image, HEADER + 64);
	expect_exit("XRSTOR of an image with nothing behind it",
		    call(tcs, mixed + STEP, ~0ull, last + PAGE - (HEADER + 64), NULL));
	memcpy(image + HEADER, &(uint64_t){ 7 }, 8);
	expect_fault("XRSTOR of AVX state", call(tcs, mixed + STEP, ~0ull, image, NULL), ERESUME, 13, 0, 0);
	drop_frame(tcs);
	memcpy(image + HEADER, (uint64_t[]){ 3, 1ull << 63 | 7 }, 16);
	expect_fault("XRSTOR of a compacted image that has room for it", call(tcs, mixed + STEP, ~0ull, image, NULL), ERESUME, 13,
		     0, 0);
	drop_frame(tcs);

	middle = mixed + 2 * STEP;
	memcpy(&mask, immediate + 2, 8);
	expect_exit("an instruction with XSAVE inside", call(tcs, middle, 0, image, &result));
	ok_eq(result, mask, "loads what was written");
	ok(saved(tcs, middle + 2, image, false), "and its middle, jumped into, saves");
	expect_exit("the instruction once more", call(tcs, middle, 0, image, &result));
	ok_eq(result, mask, "still loads that");
	ok(bytes_are(middle, immediate, sizeof(immediate) - 1), "and a debugger reads it");
	ok(bytes_are(spare, "\x0f\xae\x21\xc3", 4), "and XSAVE");

	memset(image, 0, IMAGE);
	mask = (uint64_t)image + 0x7c0; /* as a mask, with bits 6 and 7: part of AVX-512 */
	expect_exit("XSAVE with RAX for the address", call(tcs, mixed + 3 * STEP, mask, 0, NULL));
	for (result = 0; result < IMAGE && !image[result]; result++)
		;
	ok_eq(result, IMAGE, "saves nothing, for its mask has nothing of XFRM");

	put(tcs, heap, writes_itself, sizeof(writes_itself) - 1);
	put(tcs, heap + STEP, xgetbv, sizeof(xgetbv) - 1);
	accept_copy(tcs, both, RWX);
	expect_exit("code that writes to its own page", call(tcs, both, 0, 0, &result));
	ok_eq(result, 42, "executes what it has written");
	put_form(tcs, both, 1);
	ok(saved(tcs, both, image, false), "XSAVE64 written to an executable page");
	put_form(tcs, both + 2 * STEP, 2);
	ok(saved(tcs, both + 2 * STEP, image, true), "XSAVEC beside it");
	ok(saved(tcs, both, image, false), "XSAVE64 again");
	expect_exit("XGETBV there", call(tcs, both + STEP, 0, 0, &result));
	ok_eq(result, xfrm, "XCR0 is XFRM");

	sent = enclave;
	send_descriptor(sockets[0], enclave.fd);
	ok_eq(write(go[1], &sent, sizeof(sent)), sizeof(sent), "sent to another process");
	for (int i = 0; i < FORMS; i++)
		ok(saved(tcs, spare + i * PAGE, image, forms[i].compacts), "%s while the other does", forms[i].name);
	waitpid(child, &status, 0);
	ok_eq(status, FORMS << 8, "and so it is with all forms in the other");
	return done();
}
