/* The test enclave: does one request per entry. */
#include "requests.h"

extern volatile uint64_t encl_notifications;
extern uint8_t encl_base[], encl_ssa[], encl_dynamic_entry[], encl_instructions[];
void encl_state(const struct state *in, volatile uint32_t *flag, struct state *out, uint32_t avx);
void encl_xstate(const void *in, volatile uint32_t *flag, void *out, uint64_t mask);
void encl_xsavec(void *out, uint64_t mask);
void encl_body(struct request *request, uint64_t cssa, uint8_t *tcs);
uint64_t encl_call(uint64_t address, uint64_t rax, uint64_t rcx, uint64_t rdx);

struct secinfo {
	uint64_t flags;
	uint64_t reserved[7];
} __attribute__((aligned(64)));

static uint8_t target[512] __attribute__((aligned(512)));
static uint8_t report[512] __attribute__((aligned(512)));
static uint8_t key_request[512] __attribute__((aligned(512)));
static uint8_t report_data[64] __attribute__((aligned(128)));
static uint8_t key[16] __attribute__((aligned(16)));

static void copy(void *to, const void *from, uint64_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static uint64_t enclu(uint64_t leaf, const void *rbx, uint64_t rcx, uint64_t rdx)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(leaf) : "b"(rbx), "c"(rcx), "d"(rdx) : "memory", "cc");
	return leaf;
}

static uint64_t accept(uint64_t leaf, const struct request *request, uint64_t source)
{
	struct secinfo secinfo = { .flags = request->b };

	return enclu(leaf, &secinfo, request->a, source);
}

static uint8_t *ssa_frame(const uint8_t *tcs, uint64_t frame)
{
	uint64_t index = ((uint64_t)tcs - (uint64_t)encl_base) / 4096;

	return encl_ssa + (index * TEST_SSA_FRAMES + frame) * 4096;
}

static void fix_rip(struct request *request, uint64_t cssa, const uint8_t *tcs)
{
	uint8_t *frame = ssa_frame(tcs, cssa - 1);
	uint64_t *gpr = (uint64_t *)(frame + 4096 - 184);
	uint64_t *exinfo = gpr - 2;

	request->exitinfo = *(uint32_t *)((uint8_t *)gpr + 160);
	request->rip = gpr[17];
	request->rsp = gpr[4];
	request->exinfo_address = exinfo[0];
	request->exinfo_error = (uint32_t)exinfo[1];
	gpr[17] += request->a;
}

static void make_tcs(uint64_t *tcs, uint64_t ossa)
{
	for (int i = 0; i < 512; i++)
		tcs[i] = 0;
	tcs[2] = ossa;
	tcs[3] = 1ull << 32; /* CSSA 0, NSSA 1 */
	tcs[4] = (uint64_t)encl_dynamic_entry - (uint64_t)encl_base;
	tcs[8] = ~0ull; /* FSLIMIT, GSLIMIT */
}

void encl_body(struct request *request, uint64_t cssa, uint8_t *tcs)
{
	request->cssa = cssa;
	switch (request->op) {
	case OP_ADD:
		request->result = request->a + request->b;
		break;
	case OP_READ:
		request->result = *(volatile uint64_t *)request->a;
		break;
	case OP_WRITE:
		*(volatile uint64_t *)request->a = request->b;
		break;
	case OP_UD2:
		__asm__ volatile("ud2");
		break;
	case OP_INT3:
		__asm__ volatile("int3");
		break;
	case OP_DIV0:
		__asm__ volatile("xor %%edx, %%edx; mov $1, %%eax; xor %%ecx, %%ecx; div %%ecx" : : : "rax", "rcx", "rdx");
		break;
	case OP_GP:
		request->result = *(volatile uint64_t *)0x8000000000000000;
		break;
	case OP_SYSCALL:
		__asm__ volatile("mov $39, %%eax; syscall" : : : "rax", "rcx", "r11", "memory");
		break;
	case OP_CPUID:
		__asm__ volatile("xor %%eax, %%eax; cpuid" : : : "rax", "rbx", "rcx", "rdx");
		break;
	case OP_X87_FAULT: {
		uint16_t control = 0x37b; /* zero division unmasked */

		__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(control));
		break;
	}
	case OP_SIMD_FAULT: {
		uint32_t mxcsr = 0x1d80; /* zero division unmasked */

		__asm__ volatile("ldmxcsr %0; mov $1, %%eax; cvtsi2sd %%eax, %%xmm0; pxor %%xmm1, %%xmm1; divsd %%xmm1, %%xmm0"
				 : : "m"(mxcsr) : "rax");
		break;
	}
	case OP_SPIN:
		if (request->b)
			*(volatile uint32_t *)request->b = 1;
		while (!*(volatile uint32_t *)request->a)
			;
		break;
	case OP_CHECKSUM: {
		volatile uint8_t *aexnotify = ssa_frame(tcs, cssa) + 4096 - 184 + 167;
		uint64_t x = request->b;

		*aexnotify = request->c; /* from here on, for before it RSP was the host's */
		for (uint64_t i = 0; i < request->a; i++)
			x = checksum_round(x);
		*aexnotify = 0;
		request->result = x;
		break;
	}
	case OP_STATE:
		encl_state((void *)request->a, (void *)request->b, (void *)request->c, request->d);
		break;
	case OP_EACCEPT:
		request->result = accept(5, request, 0);
		break;
	case OP_EMODPE:
		accept(6, request, 0);
		break;
	case OP_EACCEPTCOPY:
		request->result = accept(7, request, request->c);
		break;
	case OP_EREPORT:
		copy(target, (void *)request->a, 512);
		copy(report_data, (void *)request->b, 64);
		enclu(0, target, (uint64_t)report_data, (uint64_t)report);
		copy((void *)request->c, report, 432);
		break;
	case OP_EGETKEY:
		copy(key_request, (void *)request->a, 512);
		request->result = enclu(1, key_request, (uint64_t)key, 0);
		copy((void *)request->c, key, 16);
		break;
	case OP_MAKE_TCS:
		make_tcs((void *)request->a, request->b);
		break;
	case OP_FIX_RIP:
		fix_rip(request, cssa, tcs);
		break;
	case OP_BASE:
		request->result = (uint64_t)encl_base;
		break;
	case OP_JUMP:
		((void (*)(void))request->a)();
		break;
	case OP_ENCLU:
		request->result = enclu(request->a, (void *)request->b, request->c, request->d);
		break;
	case OP_NOTIFIED:
		request->result = encl_notifications;
		break;
	case OP_EDECCSSA:
		enclu(9, 0, 0, 0);
		if (request->a)
			__asm__ volatile("ud2");
		break;
	case OP_XSTATE:
		encl_xstate((void *)request->a, (void *)request->b, (void *)request->c, request->d);
		break;
	case OP_XSAVEC:
		encl_xsavec((void *)request->a, request->b);
		break;
	case OP_CALL:
		request->result = encl_call(request->a, request->b, request->c, request->d);
		break;
	case OP_INSTRUCTION:
		request->rip = (uint64_t)encl_instructions + 32 * request->a;
		request->result = encl_call(request->rip, request->b, request->c, request->d);
		break;
	}
}
