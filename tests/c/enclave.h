/* A small host library for the tests' C programs: loads, measures, signs and enters the test enclave. */
#ifndef ENCLU_TESTS_ENCLAVE_H
#define ENCLU_TESTS_ENCLAVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <asm/sgx.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "enclaves/requests.h"

#define PAGE 4096ul
#define EENTER 2
#define ERESUME 3
#define EEXIT 4
#define PT_TCS_FLAGS 0x100ul
#define PT_REG_FLAGS 0x200ul
#define PT_TRIM_FLAGS 0x400ul

struct enclave_options {
	uint64_t heap_pages;    /* unmeasured read-write pages after the image */
	uint64_t spare_pages;   /* addresses after the heap, mapped, without pages (for EAUG) */
	uint64_t xfrm;          /* 0: 3 (x87 and SSE) */
	uint32_t miscselect;
	bool no_init;
	bool no_map;
};

struct enclave {
	int fd;
	uint8_t *base;
	uint64_t size;
	uint64_t text, data;    /* offsets */
	uint64_t heap, spare;   /* offsets */
	uint8_t mrenclave[32];
	uint8_t sigstruct[1808];
};

/* Loads the test enclave, or ends the program with a message. */
void enclave_load(struct enclave *enclave, const struct enclave_options *options);
void enclave_unload(struct enclave *enclave);
int enclave_init(struct enclave *enclave);
static inline void *enclave_tcs(const struct enclave *enclave, int index) { return enclave->base + index * PAGE; }

/* The design that the program runs under. */
const char *delivery(void);

/* Enters through the vDSO; fills *run. Returns what the vDSO returned. In other designs than `vdso`: raw, *run unused. */
int enclave_call(void *tcs, struct request *request, struct sgx_enclave_run *run);
int vdso_enter(void *tcs, struct request *request, unsigned int leaf, struct sgx_enclave_run *run);
void *vdso_symbol(const char *name);

/* Raw ENCLU, without the vDSO. */
enum raw_result { RAW_EXITED = 0, RAW_AEX = 1, RAW_FAULTED = 2 };
struct raw_fault { uint64_t leaf, vector, error, address, rbx, rcx; };
int raw_enter_count(uint64_t leaf, void *tcs, struct request *request, struct raw_fault *fault); /* AEP counts, resumes */
int raw_enter_once(uint64_t leaf, void *tcs, struct request *request, struct raw_fault *fault);  /* AEP returns RAW_AEX */
int raw_enter_direct(uint64_t leaf, void *tcs, struct request *request, struct raw_fault *fault); /* AEP is the ENCLU */
/* By an ENCLU elsewhere, which is the AEP, and behind which must be a jump to raw_returned. */
int raw_enter_at(uint64_t leaf, void *tcs, struct request *request, struct raw_fault *fault, void *enclu);
extern uint8_t raw_once_enclu[], raw_once_aep[], raw_direct_enclu[], raw_count_enclu[], raw_count_aep[];
extern uint8_t raw_faulted[];  /* go on here, with RDI, RSI, RDX as all designs give them, to return RAW_FAULTED */
extern uint8_t raw_returned[]; /* the same, or EEXIT, as RAX tells */
extern volatile uint64_t raw_aex_count;

/* TAP. ok() returns its condition. */
bool ok(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));
int done(void);
#define ok_eq(got, want, name) \
	({ uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want); \
	   bool right_ = ok(got_ == want_, "%s", name); \
	   if (!right_) printf("# got %#llx, want %#llx\n", (unsigned long long)got_, (unsigned long long)want_); \
	   right_; })

/* Installs a SA_SIGINFO | SA_NODEFER handler. */
void handle(int signo, void (*handler)(int, siginfo_t *, void *));

#endif
