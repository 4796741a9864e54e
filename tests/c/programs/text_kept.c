/* An enclave's text is what was loaded, for whoever reads or copies it, also where it has been left from many times. */
#include "fault.h"

#define ENTRIES 10
#define AT_ENCLU(code) (memcmp(code, "\x0f\x01\xd7", 3) == 0)

static struct enclave enclave;
static uint8_t *text;
static uint64_t size;
static void *tcs;

/* By EEXIT, and by EEXIT after EDECCSSA, from each place that has one. */
static void enter_often(void)
{
	struct request request = { .op = OP_INSTRUCTION, .a = INSN_IN };
	uint64_t sum = 0;

	for (int i = 0; i < ENTRIES; i++) {
		sum = ask(tcs, OP_ADD, sum, 2, 0);
		attempt(tcs, &request, EENTER);
		drop_frame(tcs);
	}
	ok_eq(sum, 2 * ENTRIES, "entries, and exceptions");
}

static void read_by_debugger(const uint8_t *loaded)
{
	uint8_t *now = malloc(size);

	ok_eq(enclave_access(&enclave, text, now, size, 0), 0, "EDBGRD reads all of the text");
	ok(!memcmp(now, loaded, size), "it is what was loaded");
	for (uint64_t at = 0; at + 3 <= size; at++)
		for (int byte = 0; byte < 3 && AT_ENCLU(loaded + at); byte++)
			enclave_access(&enclave, text + at + byte, now + at + byte, 1, 0);
	ok(!memcmp(now, loaded, size), "byte by byte, too");
	free(now);
}

static void copied_by_the_enclave(const uint8_t *loaded)
{
	uint64_t copy = (uint64_t)enclave.base + enclave.spare;
	uint8_t now[PAGE];

	for (uint64_t page = 0; page < size; page += PAGE, copy += PAGE) {
		ok_eq(ask(tcs, OP_EACCEPTCOPY, copy, PT_REG_FLAGS | 3, (uint64_t)text + page), 0, "EACCEPTCOPY of a page of text");
		enclave_access(&enclave, (void *)copy, now, PAGE, 0);
		ok(!memcmp(now, loaded + page, PAGE), "the copy is what was loaded");
	}
}

/* A debugger's breakpoints: a byte of each ENCLU in turn is another for a while. */
static void broken_into(const uint8_t *loaded)
{
	uint8_t int3 = 0xcc, now[3];

	for (uint64_t at = 0; at + 3 <= size; at++)
		if (AT_ENCLU(loaded + at)) {
			enclave_access(&enclave, text + at, &int3, 1, ENCLU_SGX_DEBUG_WRITE);
			enclave_access(&enclave, text + at, now, 3, 0);
			ok(!memcmp(now, "\xcc\x01\xd7", 3), "one byte of an ENCLU is another");
			enclave_access(&enclave, text + at, (void *)(loaded + at), 1, ENCLU_SGX_DEBUG_WRITE);
			enter_often();
		}
}

int main(void)
{
	struct enclave_options options = { .attributes = ATTRIBUTE_DEBUG };
	uint8_t *loaded;

	enclave_load(&enclave, &options);
	size = (enclave.data & -PAGE) - enclave.text;
	enclave_unload(&enclave);
	options.spare_pages = size / PAGE;
	enclave_load(&enclave, &options);
	tcs = enclave_tcs(&enclave, 0);
	text = enclave.base + enclave.text;
	loaded = malloc(size);
	ok_eq(enclave_access(&enclave, text, loaded, size, 0), 0, "the text is read before anybody has entered");
	enter_often();
	read_by_debugger(loaded);
	copied_by_the_enclave(loaded);
	enter_often();
	broken_into(loaded);
	read_by_debugger(loaded);
	return done();
}
