/* What the programs of all scenarios share. */
#ifndef SCENARIOS_SCENARIO_H
#define SCENARIOS_SCENARIO_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The design that the program runs under, without a setting. */
const char *design(void);

/*
 * A runtime for the design.  Every `name`, "a" to "d", is an instance of its own, with its own code and data, that
 * knows nothing of the others.  Ends the program if there is none.
 */
struct sgx_runtime *open_runtime(const char *name);

/* A file of the build: "enclaves/basic.elf", "my-scenario/my-enclave.elf".  The result stays valid. */
const char *built(const char *file);

/* Like the runtime's functions; anything but success ends the program with `outcome: wrong`. */
void must_start(struct sgx_runtime *runtime);
void must_load(struct sgx_runtime *runtime, struct sgx_enclave *enclave, const char *file);

/*
 * What the program observes, one TAP line each.  Returns the condition.
 */
bool ok(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Likewise, and tells both values if they differ. */
bool ok_eq(uint64_t got, uint64_t want, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* More about it; no observation of its own. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Ends the program with its outcome.  Reasons are short and the same each time: no addresses, no numbers of processes.
 *
 * finish(): `outcome: works` if all observations hold, else `outcome: wrong` and the first that does not.
 * works(): the same, with something more to say than how many they were.
 * refused(): the design, the kernel or the runtime said no with an error, and the program could not do what it is for.
 */
void finish(void) __attribute__((noreturn));
void works(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void wrong(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void refused(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* refused(), if `error` is not 0: what was done, and the errno's name. */
void refused_if(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Runs `body` in a forked child, where it may die; its observations are none of the program's.  The result tells how
 * the child ended: "exited with 0", "killed by SIGILL", and is valid until the next call.  A child cannot enter its
 * parent's enclaves and must load its own.
 */
const char *in_child(int (*body)(void));

/*
 * Runs another program, looked for in PATH, in a process of its own on the same machine.  It reads `input` from stdin;
 * what it prints on stderr is noted.  `arguments` end with NULL.
 */
struct ran {
	char ended[64];		/* "exited with 0", "killed by SIGILL"; "exited with 127": there is no such program */
	uint8_t *output;	/* from its stdout; a zero byte follows */
	size_t size;
	char *errors;		/* from its stderr */
};
struct ran run_program(const char *const arguments[], const void *input, size_t size);

/* "EBUSY" */
const char *errno_name(int error);

#ifdef __cplusplus
}
#endif

#endif
