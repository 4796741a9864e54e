/*
 * The floor under an ECALL from Python: an agent that answers at once, without an enclave or a supervisor.
 *
 * It is given the turn and gives it back as the agent does, by the agent's own turn.c.  Every system call that it is
 * asked for succeeds without being made, so that an enclave is loaded that is nowhere; every entry of it is the ECALL
 * of benchmarks/ecall.c, done.  The last six arguments are those of the agent.
 */
#include "agent.h"
#include "call.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void *serve(void *of)
{
	struct channel *channel = of;
	pthread_t thread;

	channel->tid = gettid();
	for (;;) {
		struct sgx_call *ecall;

		give_turn(channel);
		await_turn(channel);
		channel->result = 0;
		switch (channel->command) {
		case COMMAND_SPAWN:
			pthread_create(&thread, NULL, serve, (void *)channel->args[0]);
			break;
		case COMMAND_ENTER:
			ecall = (struct sgx_call *)channel->in[0];
			ecall->exit = EXIT_DONE;
			ecall->result = ecall->argument;
			channel->leaf = EEXIT;
			channel->depth++;
			break;
		case COMMAND_LEAVE:
			channel->depth--;
			break;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long number[6];
	struct hello *hello;
	pthread_t thread;
	uint8_t *memory;
	char byte;

	if (argc < 7)
		return 2;
	for (int i = 0; i < 6; i++)
		number[i] = strtoul(argv[argc - 6 + i], NULL, 10);
	memory = mmap((void *)number[2], number[3], PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
		      (int)number[0], 0);
	if (memory == MAP_FAILED)
		return 1;
	hello = (struct hello *)memory;
	hello->channel_size = sizeof(struct channel);
	pthread_create(&thread, NULL, serve, memory + number[4]);
	while (read((int)number[1], &byte, 1) < 0)
		;
	return 0;
}
