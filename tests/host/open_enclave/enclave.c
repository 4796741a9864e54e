/* An enclave by Open Enclave's conventions, for the tests: it does what its ECALLs say, well or badly. */
#include <stddef.h>
#include <stdint.h>

struct answer {
	uint64_t rdi, rsi;
};

struct call_args {
	uint64_t function;
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
	uint64_t deep, deep_size;
};

enum { ERET = 2, OCALL = 3 };
enum { OK = 0, FAILURE = 1, INVALID_PARAMETER = 3, NOT_FOUND = 9, ABORTING = 19 };
enum { DESTRUCTOR, INIT, CALL, EXCEPTION, AT_EXIT };
enum { CALL_HOST = 0x8000, WAKE, WAIT, MALLOC, FREE, GET_TIME };

struct answer host_call(uint64_t rdi, uint64_t rsi);

static uint32_t cpuid_table[6][4];
static uint64_t handled, initialised;
static uint8_t message[256];

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

	*args = (struct call_args){ function, input, input_size, output, output_size, 0, 7 };
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
OCALL_FUNCTION(oe_sgx_get_cpuid_table_ocall, 4)
OCALL_FUNCTION(oe_log_ocall, 5)
OCALL_FUNCTION(oe_syscall_write_ocall, 6)
OCALL_FUNCTION(oe_syscall_writev_ocall, 7)
OCALL_FUNCTION(oe_sgx_thread_wake_wait_ocall, 8)
OCALL_FUNCTION(oe_syscall_nanosleep_ocall, 9)

static uint64_t initialise(uint64_t handle)
{
	struct {
		struct header header;
		uint64_t retval, table, size;
	} in = { .table = 1, .size = sizeof(cpuid_table) };
	uint8_t out[48 + sizeof(cpuid_table)];
	uint32_t result;

	(void)handle;
	_Static_assert(sizeof(in) == 48, "as oeedger8r has it");
	result = oe_sgx_get_cpuid_table_ocall(&in, sizeof(in), out, sizeof(out));
	copy(cpuid_table, out + 48, sizeof(cpuid_table));
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
void *const oe_ecalls_table[] = {
	ecall_cpuid, ecall_add, ecall_ocall, ecall_raw_ocall, ecall_raw_exit, ecall_undefined, ecall_fault, ecall_abort,
	ecall_loop, ecall_typed, ecall_message,
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
	copy(numbers, args->input + sizeof(struct header), 5 * 8);
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
	uint8_t *result = args.output + sizeof(struct header);

	if (args.input_size >= sizeof(struct header) + sizeof(numbers))
		numbers_of(&args, numbers);
	if (args.function >= oe_ecalls_table_size)
		return eret(CALL, OK, NOT_FOUND);
	for (uint64_t i = 0; i < args.output_size; i++)
		args.output[i] = 0;
	switch (args.function) {
	case 0:
		if (args.output_size < sizeof(struct header) + sizeof(cpuid_table))
			return eret(CALL, OK, INVALID_PARAMETER);
		copy(result, cpuid_table, sizeof(cpuid_table));
		break;
	case 1:
		value = numbers[0] + numbers[1];
		copy(result, &value, 8);
		break;
	case 2: { /* the OCALL numbers[0], with the rest of the input as its buffer; a result of its own first */
		uint64_t size = args.input_size - 64, out_size = numbers[1];
		uint8_t *in = args.input + 64, out[1024];
		uint32_t status = NOT_FOUND;

		switch (numbers[0]) {
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
	case 10:
		copy(message, args.input + sizeof(struct header), sizeof(message));
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

	_Static_assert(sizeof(in) == 64, "as oeedger8r has it");
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
