/* Each way for the enclave to have an exception: cases_exception.c says what it is, cases_aex.c what is outside then. */
#ifndef CONFORM_EVENTS_H
#define CONFORM_EVENTS_H

#include "conform.h"

struct event {
	const char *name, *told, *signal; /* as say_outcome() and signalled() have it */
	uint64_t code, at;                /* `at` is where it is raised, an offset in ELRANGE */
	struct registers in;
	uint64_t where; /* of RBX, and RAX if `code` calls it: added to the enclave's base if it is below its size */
	const char *exitinfo, *exitinfo_with_exinfo, *exinfo;
	const char *rf; /* RFLAGS.RF in the SSA */
	uint32_t changed; /* bit n: register n, with the number of the encoding, is the event's, not the case's */
	int restricted; /* the page at `where` may only be read by its EPCM entry */
};

extern const struct event events[];
enum { EVENTS = 23 };

/* Loads the enclave and has the exception; `request` has the registers of the case. */
struct outcome raise(const struct event *event, struct request *request, struct options options);

#endif
