/* What a case is, and what it has at hand. */
#ifndef CONFORM_H
#define CONFORM_H

#include "image.h"
#include "kernel.h"
#include "sgx.h"

/* A claim of the SDM or of Linux: it holds if what `act` says is what is expected. */
struct claim {
	const char *name;     /* unique in its group */
	const char *source;   /* the SDM's section or pseudo-code, or the kernel's function */
	const char *expected;
	void (*act)(const struct claim *claim);
	uint64_t a, b, c, d;  /* for `act` */
};

struct group {
	const char *name, *about;
	const struct claim *claims;
	unsigned int count;
	/* Where claims are the rows of a rule and not of a table: fills in the claim with this number, or tells the count. */
	void (*make)(unsigned int number, struct claim *claim);
	unsigned int (*counted)(void);
};

extern const struct group cpuid_group, leaf_group, eenter_group, entered_group, eexit_group, eresume_group, edeccssa_group, notify_group,
	exception_group, synthetic_group, after_aex_group, xfrm_group, instruction_group, ereport_group, egetkey_group,
	access_group, outside_group, eaccept_group, eacceptcopy_group, emodpe_group, operand_group, sequence_group, create_group,
	add_pages_group, init_group, provision_group, sgx2_group, may_map_group, mapping_group, vdso_group, debug_group;

/* text.c: what is observed is said in words, with `%s`, `%d`, `%x`, `%a` (an address) and `%e` (errno or 0). */
void say(const char *format, ...);
void format_into(char *to, unsigned int size, const char *format, ...);
const char *observed(void);
void forget_observed(void);
__attribute__((noreturn)) void unsupported(const char *why); /* the case ends: processor or kernel do not have what it is about */
__attribute__((noreturn)) void broken(const char *format, ...); /* the case ends: what should be a matter of course failed */
enum case_status { OBSERVED, NOT_SUPPORTED };
__attribute__((noreturn)) void end_case(int status);
char *shared_text(void *place); /* where `say` writes from now on */

/* enclave.c */
struct options {
	uint64_t attributes, xfrm; /* besides MODE64BIT; 0: 3 */
	uint64_t tcs_flags; /* of every TCS */
	uint32_t miscselect;
	uint64_t mapped_before; /* an offset: its region is mapped with all permissions before it is added, and never else */
	enum enclave_state { INITIALISED, ADDED, CREATED, OPENED } state;
	enum signed_as signature;
};

extern struct enclave {
	int fd;
	uint64_t base; /* of ELRANGE; offsets of image.h are added to it */
} enclave;

void load(struct options options);      /* the image, whole, or as far as it is wanted */
uint64_t reserve(uint64_t size);        /* an aligned range of addresses, with nothing accessible */
long create(uint64_t base, uint64_t size, uint64_t attributes, uint64_t xfrm, uint32_t miscselect, uint32_t frame);
#define MEASURED (1ull << 63) /* besides SECINFO.FLAGS, for add() */
long add(uint64_t offset, uint64_t length, uint64_t flags, const void *source, uint64_t *count);
long init(const void *sigstruct);
int open_device(void);
void need_sgx2(void);
void need_edeccssa(void);
void need_exinfo(void);
void need_aexnotify(void);
long restrict_to(uint64_t offset, uint64_t permissions);
long modify(uint64_t offset, uint64_t type);
long remove_page(uint64_t offset);
uint64_t place(uint64_t offset); /* of the enclave */
extern uint8_t memory[4 * PAGE]; /* outside the enclave */
#define NOWHERE 0x10 /* an address where nothing is */
#define FAR_ADDRESS 0x8000000000000000 /* one that is not canonical */
const char *name_of(uint64_t address, uint64_t *offset);

/* run.c: entering by an ENCLU of its own. */
struct request { /* enclave.S has it, too */
	uint64_t code; /* a linear address */
	struct registers in, entered, out;
};

struct outcome {
	enum how_left { EXITED, AEX, FAULTED } how; /* EEXIT; an exception in the enclave; ENCLU itself */
	uint32_t vector, error;
	uint64_t address;
	int signo, code;
	struct registers registers; /* as left, outside */
	uint64_t rip;
	uint8_t fxsave[512]; /* with FXSAVE's layout, as left: at an AEX only */
	uint64_t where; /* si_addr */
};

extern uint8_t left_state[2 * PAGE]; /* as `fxsave`, with XSAVE's layout; what XSTATE_BV does not have is initial */

extern struct transition {
	struct registers in, out; /* of the processor at ENCLU and behind */
	uint64_t how;
} transition;

void prepare_signals(void);
struct outcome enter(uint64_t tcs, struct request *request, enum leaf leaf);
struct outcome run_code(uint64_t code, struct request *request); /* at TCS0, and its offset in TEXT */
struct outcome enclu(const struct registers *in); /* ENCLU outside, with these registers */
struct outcome outside(uint64_t code, struct registers *registers); /* code of the program's own, that may fault */
#define GPR(registers, n) (((uint64_t *)(registers))[n])
struct request example(void); /* a value of its own in each register */
void say_outcome(const struct outcome *outcome);
void must_exit(const struct outcome *outcome, const char *what);
uint64_t enclu_inside(enum leaf leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx); /* must exit; RAX */
struct outcome try_inside(enum leaf leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx);
void copy_in(uint64_t to, const void *from, uint64_t size);
void copy_out(void *to, uint64_t from, uint64_t size);
uint64_t secinfo_inside(uint64_t flags); /* a SECINFO in the enclave; its address */
void frame_of(unsigned int cssa, struct gprsgx *gprsgx, struct exinfo *exinfo); /* of TCS0 */
uint64_t ssa_of(unsigned int cssa);
void interrupt(long microseconds, volatile uint32_t *once);
uint64_t accept(uint64_t offset, uint64_t flags);
extern uint8_t raw_enclu[], raw_aep[], raw_exited[];

/* What is done to a page of the enclave: in cases_edmm.c. */
enum preparation { AS_ADDED, RESTRICTED_R, RESTRICTED_NONE, TRIMMED, MADE_TCS, ACCEPTED_TRIM, TAKEN_AWAY, ADDED_ANEW };
void put_in_state(uint64_t page, enum preparation preparation);

/* Extended state: in cases_state.c. */
enum state_components { STATE_AVX = 4, STATE_AVX512 = 0xe0 };
void need_xfrm(uint64_t xfrm);
const uint8_t *state_image(uint64_t components); /* for XRSTOR, with values in all components */
void state_part(unsigned int component, uint64_t *offset, uint64_t *size);
void load_state(const void *image, uint64_t components); /* XRSTOR, outside */
extern struct state_at_entry { /* what the program has loaded whenever it enters; NULL: nothing of its own */
	const void *image;
	uint64_t components;
} state_at_entry;

/* vdso.c */
void environment_at(uint64_t *environment); /* behind it is the auxiliary vector, which knows the vDSO */
uint64_t vdso_function(const char *name);   /* 0: it has none */

void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
void copy(void *to, const void *from, uint64_t size);
void fill(void *to, int byte, uint64_t size);
int same(const void *a, const void *b, uint64_t size);
int same_text(const char *a, const char *b);
int contains(const char *text, const char *part);
unsigned int length_of(const char *text);

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define GROUP(name_, title, about_, table) \
	const struct group name_ = { .name = title, .about = about_, .claims = table, .count = COUNT(table) }

#endif
