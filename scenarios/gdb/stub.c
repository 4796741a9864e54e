#include "stub.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { TF = 0x100, SIZE = 0x4000, REGISTERS = 18 };

/* As gdb numbers them: RAX, RBX, ... RIP, and EFLAGS, of 4 bytes. */
static const int order[REGISTERS] = {
	REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12,
	REG_R13, REG_R14, REG_R15, REG_RIP, REG_EFL,
};

static int connection, memory;
static bool connected;
static char packet[SIZE], answer[SIZE];

static uint8_t receive(void)
{
	uint8_t byte;

	if (read(connection, &byte, 1) != 1) {
		static const char words[] = "gdb has gone\n";

		(void)!write(STDERR_FILENO, words, sizeof(words) - 1);
		_exit(1);
	}
	return byte;
}

static unsigned int digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static void receive_packet(void)
{
	size_t length = 0;

	while (receive() != '$')
		; /* acknowledgements */
	for (uint8_t byte; (byte = receive()) != '#' && length < SIZE - 1; length++)
		packet[length] = byte;
	packet[length] = 0;
	receive(), receive(); /* the checksum: this is a local socket */
	(void)!write(connection, "+", 1);
}

static void send_packet(size_t length)
{
	uint8_t sum = 0;
	char end[4];

	for (size_t i = 0; i < length; i++)
		sum += answer[i];
	snprintf(end, sizeof(end), "#%02x", sum);
	if (write(connection, "$", 1) != 1 || write(connection, answer, length) != (ssize_t)length || write(connection, end, 3) != 3)
		_exit(1);
}

static void say(const char *text)
{
	send_packet(strlen(strcpy(answer, text)));
}

static size_t put_hex(size_t at, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at += sprintf(answer + at, "%02x", ((const uint8_t *)bytes)[i]);
	return at;
}

static void get_hex(const char *text, void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)bytes)[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
}

static void say_registers(const greg_t *registers)
{
	size_t at = 0;

	for (int i = 0; i < REGISTERS; i++)
		at = put_hex(at, &registers[order[i]], order[i] == REG_EFL ? 4 : 8);
	send_packet(at);
}

static void write_register(greg_t *registers)
{
	char *value;
	unsigned long index = strtoul(packet + 1, &value, 16);

	if (index < REGISTERS)
		get_hex(value + 1, &registers[order[index]], order[index] == REG_EFL ? 4 : 8);
	say("OK"); /* There is also ORIG_RAX, which gdb sets before it goes on: no system call is under way. */
}

static void read_memory(void)
{
	uint8_t bytes[SIZE / 2 - 1];
	unsigned long address, size;
	ssize_t got;

	if (sscanf(packet, "m%lx,%lx", &address, &size) != 2 || size > sizeof(bytes))
		say("E01");
	else if ((got = pread(memory, bytes, size, address)) <= 0)
		say("E02");
	else
		send_packet(put_hex(0, bytes, got));
}

static void write_memory(void)
{
	uint8_t bytes[SIZE / 2];
	unsigned long address, size;
	char *data = strchr(packet, ':');

	if (!data || sscanf(packet, "M%lx,%lx", &address, &size) != 2 || size > sizeof(bytes)) {
		say("E01");
		return;
	}
	get_hex(data + 1, bytes, size);
	say(pwrite(memory, bytes, size, address) == (ssize_t)size ? "OK" : "E02");
}

/* gdb finds out by it where the program and the vDSO are. */
static void read_auxv(void)
{
	char bytes[SIZE / 4];
	int fd = open("/proc/self/auxv", O_RDONLY | O_CLOEXEC);
	unsigned long offset = 0, length = 0, size = read(fd, bytes, sizeof(bytes)), at = 1;

	close(fd);
	sscanf(packet, "qXfer:auxv:read::%lx,%lx", &offset, &length);
	for (; offset < size && length; offset++, length--) {
		if (strchr("#$}*", bytes[offset]) && bytes[offset])
			answer[at++] = '}', answer[at++] = bytes[offset] ^ 0x20;
		else
			answer[at++] = bytes[offset];
	}
	answer[0] = offset < size ? 'm' : 'l';
	send_packet(at);
}

static bool begins(const char *text)
{
	return !strncmp(packet, text, strlen(text));
}

/* Until gdb has the program go on. */
static void serve(greg_t *registers)
{
	for (;;) {
		receive_packet();
		if (begins("qSupported"))
			say("PacketSize=2000;qXfer:auxv:read+");
		else if (begins("qXfer:auxv:read:"))
			read_auxv();
		else if (begins("qAttached"))
			say("1");
		else if (begins("?"))
			say("S05");
		else if (begins("H"))
			say("OK");
		else if (begins("g"))
			say_registers(registers);
		else if (begins("P"))
			write_register(registers);
		else if (begins("m"))
			read_memory();
		else if (begins("M"))
			write_memory();
		else if (begins("c") || begins("s")) {
			if (packet[0] == 's')
				registers[REG_EFL] |= TF;
			return;
		} else if (begins("D")) {
			say("OK");
			signal(SIGTRAP, SIG_DFL);
			return;
		} else
			say("");
	}
}

static void on_sigtrap(int signo, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)signo, (void)info;
	registers[REG_EFL] &= ~TF;
	if (connected)
		say("S05");
	connected = true;
	serve(registers);
}

void stub_start(int socket)
{
	struct sigaction action = { .sa_sigaction = on_sigtrap, .sa_flags = SA_SIGINFO };

	connection = socket;
	memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	sigaction(SIGTRAP, &action, NULL);
}
