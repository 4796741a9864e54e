/*
 * An enclave that follows the protocol of the SDK's trusted runtime and has what edger8r would generate for enclave.edl.
 * ECALLs' arguments are not checked as an enclave must that has secrets.
 */
#include "edmm.h"

#include <string.h>

enum { PRINT, CALL_BACK, RECEIVE, SWAP, OPEN_FILE, CPUIDEX, WAIT_EVENT, SET_EVENT, SETWAIT_EVENTS, SET_EVENTS,
       PTHREAD_WAIT, PTHREAD_CREATE, PTHREAD_WAKEUP, NR_OCALLS };
#define INNER 8

static uint8_t features[256];
static uint32_t initialized;
static volatile uint64_t pthreads;
static uint64_t starter;	/* TCS of the thread that waits for them */
/* EDL files are checked against these. */
static volatile struct { uint64_t nr_ecall; struct { uint64_t address, flags; } table[24]; } g_ecall_table = { 24, {} };
static volatile struct { uint64_t nr_ocall; } g_dyn_entry_table = { NR_OCALLS };

static size_t length(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

static uint32_t call_host(uint32_t number, void *ms)
{
	return number < g_dyn_entry_table.nr_ocall ? make_ocall(number, ms) : SGX_ERROR_INVALID_FUNCTION;
}

/* An OCALL whose structure has a result of int first, and one argument of 8 bytes. */
static int ocall_1(uint32_t number, uint64_t argument)
{
	struct { int retval; uint64_t argument; } *ms = sgx_ocalloc(sizeof *ms);

	ms->argument = argument;
	return call_host(number, ms) ? -1 : ms->retval;
}

static int call_back(int depth)
{
	struct { int retval, depth; } *ms = sgx_ocalloc(sizeof *ms);

	ms->depth = depth;
	return call_host(CALL_BACK, ms) ? -1 : ms->retval;
}

static char *copy_out(const char *text)
{
	size_t n = length(text) + 1;
	char *out = sgx_ocalloc(n);

	memcpy(out, text, n);
	return out;
}

void *allocate_outside(size_t size)
{
	return sgx_ocalloc(size);
}

/* A TCS like the first one, with two SSA frames, the page that FS and GS point to and a stack behind it. */
static int make_tcs(uint64_t tcs)
{
	extern uint8_t first_tcs[], enclave_entry[];	/* the first is at ELRANGE's start */
	uint64_t *page = (uint64_t *)tcs, offset = tcs - (uint64_t)first_tcs;
	struct trusted_thread *new = (struct trusted_thread *)(tcs + 3 * 4096);
	int refused = add_pages(tcs, 8);

	if (refused)
		return refused;
	page[2] = offset + 4096;		/* OSSA */
	page[3] = 2ul << 32;			/* CSSA, NSSA */
	page[4] = (uint64_t)enclave_entry - (uint64_t)first_tcs;
	page[6] = page[7] = offset + 3 * 4096;	/* OFSBASE, OGSBASE */
	page[8] = 0x00000fff00000fff;		/* FSLIMIT, GSLIMIT */
	new->self = new;
	new->ssa = (uint8_t *)tcs + 4096;
	new->stack_base = new->last_sp = tcs + 8 * 4096;
	refused = edmm(EDMM_MODIFY, tcs, 4096, REG | R | W, TCS | R | W);
	return refused ? refused : (int)eaccept(tcs, TCS | MODIFIED);
}

static uint64_t exchange(uint64_t value)
{
	struct sample { uint8_t small; uint64_t large; };
	struct { uint64_t retval; struct sample *pair; uint16_t *three; void *raw; int c; } *ms;
	struct sample *pair = sgx_ocalloc(sizeof *pair);
	uint16_t *three = sgx_ocalloc(6);

	ms = sgx_ocalloc(sizeof *ms);
	*pair = (struct sample){ 7, value };
	*ms = (typeof(*ms)){ 0, pair, three, (void *)0x1234, 'x' };
	if (call_host(SWAP, ms))
		return 0;
	return ms->retval + pair->small + pair->large + three[0] + three[1] + three[2];
}

static uint32_t ecall(int number, uint8_t *ms)
{
	int *ints = (int *)ms;
	uint64_t *longs = (uint64_t *)ms;

	switch (number) {
	case 0: /* add */
		ints[0] = ints[1] + ints[2];
		break;
	case 1: /* features */
		memcpy((void *)longs[1], features, longs[2] < sizeof features ? longs[2] : sizeof features);
		longs[0] = initialized;
		break;
	case 2: /* say; of text, ms has the length, too */
		ints[0] = longs[2] == length((char *)longs[1]) + 1 ? ocall_1(PRINT, (uint64_t)copy_out((char *)longs[1])) : -2;
		break;
	case 3: /* count */
		longs[0] = ++trusted_thread()->counter;
		break;
	case 4: /* squares */
		for (size_t i = 0; i < longs[1]; i++)
			((uint32_t *)longs[0])[i] = i * i;
		break;
	case 5: { /* reverse */
		char *text = (char *)longs[1];
		size_t n = longs[2] - 1;

		for (size_t i = 0; i < n / 2; i++) {
			char c = text[i];

			text[i] = text[n - 1 - i];
			text[n - 1 - i] = c;
		}
		longs[0] = n;
		break;
	}
	case 6: /* sum */
		longs[0] = 0;
		for (size_t i = 0; i < longs[2]; i++)
			longs[0] += ((uint16_t *)longs[1])[i];
		break;
	case 7: /* through */
	case INNER:
		ints[0] = ints[1] ? call_back(ints[1]) + 1 : 0;
		break;
	case 9: { /* divide */
		int quotient = ints[1], high = ints[1] >> 31;

		/* CDQ; IDIV, three bytes, which the handler below leaves out */
		__asm__ volatile("mov %2, %%r11d; .byte 0x41, 0xf7, 0xfb" : "+a"(quotient), "+d"(high) : "r"(ints[2]) : "r11");
		ints[0] = quotient;
		break;
	}
	case 10: /* touch */
		ms[0] = *(volatile uint8_t *)longs[1];
		break;
	case 11: { /* cpuid */
		struct { uint32_t *registers; int leaf, subleaf; } *arguments;
		uint32_t *registers = sgx_ocalloc(16);

		arguments = sgx_ocalloc(sizeof *arguments);
		*arguments = (typeof(*arguments)){ registers, ints[1], 0 };
		ints[0] = call_host(CPUIDEX, arguments);
		memcpy((void *)longs[1], registers, 16);
		break;
	}
	case 12: /* own_tcs */
		longs[0] = trusted_thread()->tcs;
		break;
	case 13: /* sleep */
		ints[0] = ocall_1(WAIT_EVENT, trusted_thread()->tcs);
		break;
	case 14: /* wake */
		ints[0] = ocall_1(SET_EVENT, longs[1]);
		break;
	case 15: { /* start_thread: what the new one has added to */
		uint64_t before = pthreads;

		starter = trusted_thread()->tcs;
		ints[0] = ocall_1(PTHREAD_CREATE, trusted_thread()->tcs);
		if (!ints[0]) {
			ocall_1(WAIT_EVENT, trusted_thread()->tcs);
			ints[0] = pthreads - before;
		}
		break;
	}
	case 16: /* spin */
		while (!*(volatile uint32_t *)longs[1])
			;
		ints[0] = 1;
		break;
	case 17: { /* send */
		struct { uint64_t retval; void *data; uint64_t n; } *arguments;
		uint8_t *data = sgx_ocalloc(longs[1]);

		for (size_t i = 0; i < longs[1]; i++)
			data[i] = i;
		arguments = sgx_ocalloc(sizeof *arguments);
		*arguments = (typeof(*arguments)){ 0, data, longs[1] };
		longs[0] = call_host(RECEIVE, arguments) ? 0 : arguments->retval;
		break;
	}
	case 18:
		longs[0] = exchange(longs[1]);
		break;
	case 19: { /* open: 1000 and errno if that fails */
		struct { int retval, errno; char *path; } *arguments;
		char *path = copy_out((char *)longs[1]);

		arguments = sgx_ocalloc(sizeof *arguments);
		arguments->path = path;
		ints[0] = call_host(OPEN_FILE, arguments) ? -1 : arguments->retval < 0 ? 1000 + arguments->errno : arguments->retval;
		break;
	}
	case 20: /* fail */
		return ints[1];
	case 21: /* add_page */
		ints[0] = add_pages(longs[1], 1);
		if (!ints[0])
			*(volatile uint8_t *)longs[1] = 0x5a;
		break;
	case 22:
		ints[0] = protect_page(longs[1]);
		break;
	case 23:
		ints[0] = remove_page(longs[1]);
		break;
	default:
		return SGX_ERROR_INVALID_FUNCTION;
	}
	return SGX_SUCCESS;
}

uint32_t trts_enter(int command, uint8_t *ms, uint64_t tcs)
{
	trusted_thread()->tcs = tcs;
	if (command == ECMD_INIT_ENCLAVE) {
		memcpy(features, ms, 176);
		initialized++;
		return SGX_SUCCESS;
	}
	if (!initialized)
		return SGX_ERROR_UNEXPECTED;
	if (command == ECMD_ECALL_PTHREAD) {
		pthreads++;
		*(uint64_t *)ms = starter;	/* whom the host is to wake */
		return SGX_SUCCESS;
	}
	if (command == ECMD_MKTCS)
		return make_tcs(*(uint64_t *)ms) ? SGX_ERROR_UNEXPECTED : SGX_SUCCESS;
	if (command == ECMD_UNINIT_ENCLAVE) {
		initialized = 0;
		return ocall_1(PRINT, (uint64_t)copy_out("good-bye"));
	}
	if (command == INNER && trusted_thread()->ocall != CALL_BACK + 1)
		return SGX_ERROR_ECALL_NOT_ALLOWED;
	if (command >= 0 && (uint64_t)command >= g_ecall_table.nr_ecall)
		return SGX_ERROR_INVALID_FUNCTION;
	return command < 0 ? SGX_ERROR_UNEXPECTED : ecall(command, ms);
}

/* The second phase, at CSSA 0 on the stack that was interrupted: a division by zero is left out; it gives -1. */
static void handle(struct context *context, uint32_t vector)
{
	if (vector == 0) {
		context->rax = -1;
		context->rip += 3;
	} else {
		trusted_thread()->exceptions = -1;
	}
	continue_execution(context);
}

/* The first phase, at CSSA 1. */
uint32_t trts_exception(int command)
{
	struct ssa_gpr *saved = interrupted();

	if (command != ECMD_EXCEPT || trusted_thread()->exceptions < 0 || !(saved->exitinfo & EXITINFO_VALID))
		return SGX_ERROR_ENCLAVE_CRASHED;
	run_when_resumed(saved, handle);
	return SGX_SUCCESS;
}
