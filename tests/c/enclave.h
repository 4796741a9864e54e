/* A small host library for the tests' C programs: loads, measures, signs and enters the test enclave. */
#ifndef ENCLU_TESTS_ENCLAVE_H
#define ENCLU_TESTS_ENCLAVE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <asm/sgx.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
#define ATTRIBUTE_DEBUG 2ul
#define ATTRIBUTE_AEXNOTIFY 0x400ul
#define TCS_DBGOPTIN 1ul
#define TCS_AEXNOTIFY 2ul
#define PT_TCS_FLAGS 0x100ul
#define PT_REG_FLAGS 0x200ul
#define PT_TRIM_FLAGS 0x400ul
#define RW_PENDING 0xbul /* SECINFO: R, W, PENDING */

struct enclave_options {
	uint64_t heap_pages;    /* unmeasured read-write pages after the image */
	uint64_t spare_pages;   /* addresses after the heap, mapped, without pages (for EAUG) */
	uint64_t xfrm;          /* 0: 3 (x87 and SSE) */
	uint64_t attributes;    /* besides MODE64BIT */
	uint64_t tcs_flags;     /* of each TCS */
	uint32_t miscselect;
	uint64_t elrange_size;  /* 0: as the image needs it, and where there is room */
	uint64_t elrange_base;
	uint64_t place;         /* of the image in an ELRANGE of a given size */
	bool no_init;
	bool no_map;
	bool singly;            /* a page a call */
};

struct enclave {
	int fd;
	uint8_t *base;          /* of the image; of ELRANGE, too, unless options say otherwise */
	uint64_t size;
	uint64_t place;         /* of the image in ELRANGE: what the driver calls offsets counts from ELRANGE's base */
	uint64_t text, data;    /* offsets */
	uint64_t heap, spare;   /* offsets */
	bool singly;
	uint8_t mrenclave[32];
	uint8_t sigstruct[1808];
};

/* Loads the test enclave, or ends the program with a message. */
void enclave_load(struct enclave *enclave, const struct enclave_options *options);
/* By SCM_RIGHTS; what is received is -1 where no descriptor came. */
void send_descriptor(int socket, int fd);
int receive_descriptor(int socket);
void enclave_unload(struct enclave *enclave);
int enclave_init(struct enclave *enclave);
/* The image: TCSes, text and data. */
void enclave_map(const struct enclave *enclave);
/* ENCLU_SGX_IOC_DEBUG_ACCESS; 0 or an errno. */
int enclave_access(const struct enclave *enclave, const void *address, void *buffer, uint64_t length, uint64_t flags);
static inline void *enclave_tcs(const struct enclave *enclave, int index) { return enclave->base + index * PAGE; }

/* The page that holds a TCS's SSA frame: SSA and stacks, a page for each frame, end the image. */
static inline uint8_t *enclave_ssa(const struct enclave *enclave, int index, int frame)
{
	return enclave->base + enclave->heap - (2 * TEST_TCS_COUNT * TEST_SSA_FRAMES - index * TEST_SSA_FRAMES - frame) * PAGE;
}

/* The design that the program runs under. */
const char *delivery(void);

/* Enters through the vDSO; fills *run. Returns what the vDSO returned. In other designs than `vdso`: raw, *run unused. */
int enclave_call(void *tcs, struct request *request, struct sgx_enclave_run *run);
int vdso_enter(void *tcs, struct request *request, unsigned int leaf, struct sgx_enclave_run *run);
void *vdso_symbol(const char *name);
extern void (*before_vdso_call)(void); /* the last thing that vdso_enter() does; NULL if nothing */

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

/*
 * One entry, the same for every delivery design: how it ended, and of an exception what the program was told.
 * `signo`, `code` and `where` (si_addr) are those of the signal, if the design delivered one.
 */
struct outcome {
	unsigned int function; /* EEXIT: left; ERESUME: an exception after an AEX; EENTER: ENCLU itself faulted */
	int vector, error;
	uint64_t address;
	int signo, code;
	uint64_t where;
};
struct outcome attempt(void *tcs, struct request *request, unsigned int leaf);
bool expect_exit(const char *name, struct outcome got);
bool expect_fault(const char *name, struct outcome got, unsigned int function, int vector, int error, uint64_t address);
uint64_t ask(void *tcs, uint64_t op, uint64_t a, uint64_t b, uint64_t c); /* must succeed; its result */
void drop_frame(void *tcs); /* the enclave gives up its topmost interrupted frame (EDECCSSA) */

/* A thread for each TCS, which gets the number of its own; returns when all have ended. */
void at_each_tcs(void *(*work)(void *index));

/* A thread that spins in an enclave until told to stop, or until its entry ends otherwise. */
struct spinner {
	pthread_t thread;
	void *tcs;
	volatile uint32_t inside, stop;
	struct request request;
	struct outcome outcome;
};
void spinner_start(struct spinner *spinner, void *tcs); /* returns when the thread is inside */
struct outcome spinner_join(struct spinner *spinner);

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
