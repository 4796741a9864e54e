/* An enclave by Open Enclave's conventions, for the tests: it does what its ECALLs say, well or badly. */
#include <stddef.h>
#include <stdint.h>

struct answer {
	uint64_t rdi, rsi;
};

#ifdef TABLES /* as before 0.11 */
#define FIRST_ARGS	uint64_t table; uint64_t function;
#else
#define FIRST_ARGS	uint64_t function;
#endif

struct call_args {
	FIRST_ARGS
	uint8_t *input;
	uint64_t input_size;
	uint8_t *output;
	uint64_t output_size, written, result;
};

struct context {
	struct call_args args;
	uint64_t buffer_size;
	uint8_t *buffer;
};

/* What the marshalling structures of functions begin with. */
struct header {
	uint32_t result;
#ifndef TABLES
	uint64_t deep, deep_size;
#endif
};

enum { NUMBERS = (sizeof(struct header) + 7) & ~7 };

enum { ERET = 2, OCALL = 3 };
enum { OK = 0, FAILURE = 1, INVALID_PARAMETER = 3, NOT_FOUND = 9, ABORTING = 19 };
enum { DESTRUCTOR, INIT, CALL, EXCEPTION, AT_EXIT };
enum { CALL_HOST = 0x8000, WAKE, WAIT, MALLOC, FREE, GET_TIME };

struct answer host_call(uint64_t rdi, uint64_t rsi);

static uint32_t cpuid_table[6][4];
static uint64_t handled, initialised;
static uint8_t message[256];
static uint8_t target[512] __attribute__((aligned(512))), report_data[128] __attribute__((aligned(128)));
static uint8_t report[432] __attribute__((aligned(512)));

/* For the loader. */
uint64_t _td_from_tcs_offset, _reloc_rva, _reloc_size, _enclave_rva;

__attribute__((section(".oeinfo"), used)) const struct {
	uint32_t size, type;
	uint64_t heap_pages, stack_pages, threads;
	uint16_t product, version;
	uint32_t flags;
	uint8_t family[16], extended_product[16];
	uint64_t attributes;
	uint8_t image_info[48], sigstruct[1808];
	uint64_t end;
} oe_enclave_properties_sgx = {
	.size = 32 + 48 + 48 + 1808 + 8, .type = 2, .heap_pages = 1, .stack_pages = 8, .threads = 2, .flags = 1,
	.attributes = 6, .end = 0xecececececececec,
};

static struct context *context(void)
{
	struct context *found;

	__asm__("mov %%gs:40, %0" : "=r"(found));
	return found;
}

static struct answer eret(unsigned int function, uint16_t result, uint64_t value)
{
	return (struct answer){ (uint64_t)ERET << 48 | (uint64_t)function << 32 | result, value };
}

static uint16_t ocall(unsigned int function, uint64_t argument, uint64_t *value)
{
	struct answer answer = host_call((uint64_t)OCALL << 48 | (uint64_t)function << 32, argument);

	if (value)
		*value = answer.rsi;
	return answer.rdi;
}

/* The numbers of OCALLs are found by the calls of this function. */
__attribute__((noinline)) uint32_t oe_call_host_function(uint64_t function, void *input, uint64_t input_size,
							 void *output, uint64_t output_size, uint64_t *written)
{
	struct call_args *args = &context()->args;
	uint16_t result;

	*args = (struct call_args){ .function = function, .input = input, .input_size = input_size, .output = output,
				    .output_size = output_size, .result = 7 };
#ifdef TABLES
	args->table = -1;
#endif
	result = ocall(CALL_HOST, (uint64_t)args, NULL);
	*written = args->written;
	return result ? result : args->result;
}

static void copy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}

/* An OCALL with a structure and one buffer, both in the memory that the host lends; what comes back is copied. */
#define OCALL_FUNCTION(name, number)									\
	__attribute__((noinline)) uint32_t name(void *in, uint64_t in_size, void *out, uint64_t out_size)	\
	{												\
		uint8_t *buffer = context()->buffer;							\
		uint64_t written;									\
		uint32_t result;									\
													\
		copy(buffer, in, in_size);								\
		result = oe_call_host_function(number, buffer, in_size, buffer + in_size, out_size, &written);	\
		copy(out, buffer + in_size, out_size);							\
		return result ? result : written != out_size;						\
	}

OCALL_FUNCTION(host_add, 0)
OCALL_FUNCTION(host_text, 1)
OCALL_FUNCTION(oe_get_qetarget_info_ocall, 2)
OCALL_FUNCTION(oe_get_quote_ocall, 3)
OCALL_FUNCTION(oe_sgx_get_cpuid_table_ocall, 4)
OCALL_FUNCTION(oe_log_ocall, 5)
OCALL_FUNCTION(oe_syscall_write_ocall, 6)
OCALL_FUNCTION(oe_syscall_writev_ocall, 7)
OCALL_FUNCTION(oe_sgx_thread_wake_wait_ocall, 8)
OCALL_FUNCTION(oe_syscall_nanosleep_ocall, 9)
OCALL_FUNCTION(oe_get_supported_attester_format_ids_ocall, 10)
OCALL_FUNCTION(oe_get_supported_nothing_ocall, 11)
OCALL_FUNCTION(oe_get_quote_verification_collateral_ocall, 12)

#ifdef TABLES
/* Of the runtime's own table; its number is in no call that names could be read from. */
#define cpuid_ocall(in, in_size, out, out_size)	by_table(volatile_zero, 3, in, in_size, out, out_size)
static volatile uint64_t volatile_zero;

__attribute__((noinline)) uint32_t oe_call_host_function_by_table_id(uint64_t table, uint64_t function, void *input,
								     uint64_t input_size, void *output,
								     uint64_t output_size)
{
	struct call_args *args = &context()->args;
	uint16_t result;

	*args = (struct call_args){ table, function, input, input_size, output, output_size, 0, 7 };
	result = ocall(CALL_HOST, (uint64_t)args, NULL);
	return result ? result : args->result;
}

__attribute__((noinline)) static uint32_t by_table(uint64_t table, uint64_t function, void *in, uint64_t in_size,
						   void *out, uint64_t out_size)
{
	uint8_t *buffer = context()->buffer;
	uint32_t result;

	copy(buffer, in, in_size);
	result = oe_call_host_function_by_table_id(table, function, buffer, in_size, buffer + in_size, out_size);
	copy(out, buffer + in_size, out_size);
	return result;
}

__attribute__((noinline)) uint32_t oe_log_is_supported_ocall(void *in, uint64_t in_size, void *out, uint64_t out_size)
{
	uint8_t *buffer = context()->buffer;
	uint32_t result;

	copy(buffer, in, in_size);
	result = oe_call_host_function_by_table_id(0, 7, buffer, in_size, buffer + in_size, out_size);
	copy(out, buffer + in_size, out_size);
	return result;
}
#else
#define cpuid_ocall	oe_sgx_get_cpuid_table_ocall
#endif

static uint64_t initialise(uint64_t handle)
{
	struct {
		struct header header;
		uint32_t retval;
		uint64_t table, size;
	} in = { .table = 1, .size = sizeof(cpuid_table) };
	enum { SIZE = (sizeof(in) + 15) & ~15 };
	uint8_t buffer[SIZE] = { 0 }, out[SIZE + sizeof(cpuid_table)];
	uint32_t result;

	(void)handle;
	copy(buffer, &in, sizeof(in));
	result = cpuid_ocall(buffer, sizeof(buffer), out, sizeof(out));
	copy(cpuid_table, out + SIZE, sizeof(cpuid_table));
#ifdef TABLES
	if (!result) {
		uint8_t empty[16] = { 0 };

		result = oe_log_is_supported_ocall(empty, sizeof(empty), out, sizeof(empty));
	}
#endif
	initialised = 1;
	return result ? result : ((struct header *)out)->result;
}

/* ECALLs: names are found by the table; the numbers count here. */
void ecall_cpuid(void) {}
void ecall_add(void) {}
void ecall_ocall(void) {}
void ecall_raw_ocall(void) {}
void ecall_raw_exit(void) {}
void ecall_undefined(void) {}
void ecall_fault(void) {}
void ecall_abort(void) {}
void ecall_loop(void) {}
void ecall_typed(void) {}
void ecall_message(void) {}
void ecall_report(void) {}
void *const oe_ecalls_table[] = {
	ecall_cpuid, ecall_add, ecall_ocall, ecall_raw_ocall, ecall_raw_exit, ecall_undefined, ecall_fault, ecall_abort,
	ecall_loop, ecall_typed, ecall_message, ecall_report,
};
const uint64_t oe_ecalls_table_size = sizeof(oe_ecalls_table) / sizeof(*oe_ecalls_table);

/* int64_t typed(uint32_t factor, [in, size=n] data, [out, size=n] doubled, size_t n, [in, string] text) */
struct typed {
	struct header header;
	int64_t retval;
	uint32_t factor;
	uint64_t data, doubled, n, text, text_length;
};

static uint64_t typed(struct call_args *args)
{
	struct typed *in = (struct typed *)args->input, out = { 0 };
	uint64_t size = (sizeof(out) + 15) & ~15ull, at = size;
	uint8_t *data = args->input + size, *text;

	text = data + (in->data ? (in->n + 15) & ~15ull : 0);
	for (uint64_t i = 0; in->data && i < in->n; i++) {
		out.retval += data[i] * (uint64_t)in->factor;
		if (in->doubled)
			args->output[at + i] = data[i] * 2;
	}
	out.retval += in->text ? (uint64_t)text[0] << 32 : 0;
	copy(args->output, &out, sizeof(out));
	args->written = args->output_size;
	return OK;
}

static uint64_t numbers_of(struct call_args *args, uint64_t *numbers)
{
	copy(numbers, args->input + NUMBERS, 5 * 8);
	return numbers[0];
}

static void fault(uint64_t address)
{
	*(volatile uint64_t *)address = 1;
}

static struct answer call(struct call_args *host)
{
	struct call_args args = *host;
	uint64_t numbers[5] = { 0 }, value = 0;
	uint8_t *result = args.output + NUMBERS;

	if (args.input_size >= NUMBERS + sizeof(numbers))
		numbers_of(&args, numbers);
	if (args.function >= oe_ecalls_table_size)
		return eret(CALL, OK, NOT_FOUND);
	for (uint64_t i = 0; i < args.output_size; i++)
		args.output[i] = 0;
	switch (args.function) {
	case 0:
		if (args.output_size < NUMBERS + sizeof(cpuid_table))
			return eret(CALL, OK, INVALID_PARAMETER);
		copy(result, cpuid_table, sizeof(cpuid_table));
		break;
	case 1:
		value = numbers[0] + numbers[1];
		copy(result, &value, 8);
		break;
	case 2: { /* the OCALL numbers[0], with the rest of the input as its buffer; a result of its own first */
		uint64_t size = args.input_size - 64, out_size = numbers[1];
		static uint8_t out[1 << 13];
		uint8_t *in = args.input + 64;
		uint32_t status = NOT_FOUND;

		if (out_size > sizeof(out))
			return eret(CALL, OK, INVALID_PARAMETER);
		switch (numbers[0]) {
		case 2:
			status = oe_get_qetarget_info_ocall(in, size, out, out_size);
			break;
		case 3:
			status = oe_get_quote_ocall(in, size, out, out_size);
			break;
		case 10:
			status = oe_get_supported_attester_format_ids_ocall(in, size, out, out_size);
			break;
		case 12:
			status = oe_get_quote_verification_collateral_ocall(in, size, out, out_size);
			break;
		case 11:
			status = oe_get_supported_nothing_ocall(in, size, out, out_size);
			break;
		case 0:
			status = host_add(in, size, out, out_size);
			break;
		case 1:
			status = host_text(in, size, out, out_size);
			break;
		case 5:
			status = oe_log_ocall(in, size, out, out_size);
			break;
		case 6:
			status = oe_syscall_write_ocall(in, size, out, out_size);
			break;
		case 7:
			status = oe_syscall_writev_ocall(in, size, out, out_size);
			break;
		case 8:
			status = oe_sgx_thread_wake_wait_ocall(in, size, out, out_size);
			break;
		case 9:
			status = oe_syscall_nanosleep_ocall(in, size, out, out_size);
			break;
		}
		copy(result, &status, 4);
		copy(result + 8, out, out_size);
		break;
	}
	case 3: /* an OCALL without any marshalling: function, argument */
		value = ocall(numbers[0], numbers[1], &numbers[2]);
		copy(result, &value, 8);
		copy(result + 8, &numbers[2], 8);
		break;
	case 4:
		return (struct answer){ numbers[0], numbers[1] };
	case 5:
		__asm__ volatile("ud2");
		copy(result, &handled, 8);
		break;
	case 6:
		fault(numbers[0]);
		break;
	case 7:
		return eret(CALL, OK, ABORTING);
	case 8:
		for (;;)
			__asm__ volatile("pause");
	case 9:
		host->written = args.output_size;
		return eret(CALL, OK, typed(&args));
	case 11:
		copy(target, args.input + NUMBERS, sizeof(target));
		__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : : "a"(0), "b"(target), "c"(report_data), "d"(report)
				 : "memory"); /* EREPORT */
		copy(result, report, sizeof(report));
		break;
	case 10:
		copy(message, args.input + NUMBERS, sizeof(message));
		break;
	}
	host->written = args.output_size;
	return eret(CALL, OK, OK);
}

/* Writes the message that an ECALL has left, if it has. */
static void destroy(void)
{
	struct {
		struct header header;
		int64_t retval;
		uint64_t fd, data, count;
		uint64_t error;
	} in = { .fd = 1, .data = 1 };
	uint8_t buffer[64 + sizeof(message)] = { 0 }, out[64];

	_Static_assert(sizeof(in) <= 64, "as oeedger8r has it");
	while (in.count < sizeof(message) && message[in.count])
		in.count++;
	if (!in.count)
		return;
	copy(buffer, &in, sizeof(in));
	copy(buffer + 64, message, in.count);
	oe_syscall_write_ocall(buffer, 64 + ((in.count + 15) & ~15ull), out, sizeof(out));
}

struct answer enclave_ecall(uint64_t rdi, uint64_t rsi)
{
	unsigned int function = rdi >> 32 & 0xffff;

	switch (function) {
	case INIT:
		return eret(function, OK, initialise(rsi));
	case CALL:
		return call((struct call_args *)rsi);
	case DESTRUCTOR:
		destroy();
		return eret(function, OK, OK);
	}
	return eret(function, NOT_FOUND, 0);
}

struct registers {
	uint64_t general[16], flags, rip;
};

/* Steps over UD2; says of all else that it cannot. */
struct answer enclave_exception(uint64_t rdi, uint64_t rsi, struct registers *registers)
{
	unsigned int function = rdi >> 32 & 0xffff;

	(void)rsi;
	if (function != EXCEPTION || *(volatile uint16_t *)registers->rip != 0x0b0f)
		return eret(function, OK, 0);
	registers->rip += 2;
	handled++;
	return eret(function, OK, 0xffffffff);
}
