/*
 * A runtime for a design that has none of its own, made of what the design declares: DECLARED is defined when this is
 * built, by compare/runtimes.py.
 */
#include "core.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* What an argument of a function, or a field of a structure, is. */
enum value { NOTHING, RDI, TCS, LEAF, INFO, HANDLER, TARGET, START, LENGTH };

struct field {
	unsigned int offset, size;	/* size 0: there is none */
	enum value value;
};

/* An ioctl and its structure; command 0: none. */
struct call {
	unsigned long command;
	struct field fields[8];
};

static const struct declared {
	const char *symbol;		/* of the vDSO; NULL: an ENCLU of the runtime's own */
	bool function;			/* in C; else a bare ENCLU */
	bool resumes;
	enum value arguments[7];	/* of the function */
	struct field tcs, leaf, vector, error_code, address;	/* of its structure */
	struct call registration, removal;
	bool of_thread;			/* around every entry */
} declared = DECLARED;

static void *near;	/* a jump to enter_returned */

static void put(uint8_t *structure, struct field field, uint64_t value)
{
	memcpy(structure + field.offset, &value, field.size);
}

static uint64_t get(const uint8_t *structure, struct field field)
{
	uint64_t value = 0;

	memcpy(&value, structure + field.offset, field.size);
	return value;
}

static int tell(const struct call *call)
{
	const uint64_t values[] = {
		[HANDLER] = (uint64_t)enter_faulted, [TARGET] = (uint64_t)near, [START] = (uint64_t)enter_enclave,
		[LENGTH] = enter_end - (uint8_t *)enter_enclave,
	};
	uint8_t structure[256] = { 0 };

	for (int i = 0; i < 8 && call->fields[i].size; i++)
		put(structure, call->fields[i], values[call->fields[i].value]);
	return call->command ? device_ioctl(call->command, structure) : 0;
}

static int start(void)
{
	int error;

	if (declared.symbol) {
		vdso_function = vdso_symbol(declared.symbol);
		if (!vdso_function)
			return ENOSYS;
		if (!declared.function)
			near = trampoline(vdso_function, enter_returned);
	}
	error = declared.of_thread ? 0 : tell(&declared.registration);
	if (error && near)
		munmap(near, SGX_PAGE);
	return error;
}

static int stop(void)
{
	int error = declared.of_thread ? 0 : tell(&declared.removal);

	if (!error && near)
		munmap(near, SGX_PAGE);
	return error;
}

/* The function returns after each exit, and its structure tells how the enclave was left. */
static void enter_by_function(struct entry *entry)
{
	_Alignas(16) uint8_t info[256] = { 0 };
	uint64_t leaf = EENTER, arguments[7];

	do {
		const uint64_t values[] = {
			[NOTHING] = 0, [RDI] = (uint64_t)entry->call, [TCS] = (uint64_t)entry->tcs, [LEAF] = leaf,
			[INFO] = (uint64_t)info,
		};

		for (int i = 0; i < 7; i++)
			arguments[i] = values[declared.arguments[i]];
		put(info, declared.tcs, values[TCS]);
		put(info, declared.leaf, EEXIT);	/* Not every function says so. */
		call_function(entry, arguments, vdso_function);
		leaf = entry_event(entry, get(info, declared.leaf), get(info, declared.vector),
				   get(info, declared.error_code), get(info, declared.address));
	} while (leaf == EENTER || (leaf && declared.resumes));
	if (leaf)
		entry->status = EOPNOTSUPP;
}

/* Also when a C++ exception leaves through here. */
static void leave(const bool *registered)
{
	if (*registered)
		tell(&declared.removal);
}

static void enter(struct entry *entry)
{
	__attribute__((cleanup(leave))) bool registered = false;

	if (declared.of_thread) {
		entry->status = tell(&declared.registration);
		if (entry->status)
			return;
		registered = true;
	}
	if (declared.function)
		enter_by_function(entry);
	else if (declared.symbol)
		enter_by_jump(entry);
	else
		enter_enclave(entry);
}

const struct design design = { start, stop, enter };
