/*
 * Whose turn it is: how it is given to Python, and awaited from there (host/channel.py has the other side).
 *
 * Who gives the turn writes it, and then looks whether the other sleeps; who goes to sleep says so, and then looks whose
 * turn it is.  Each has a full fence in between, so that not both can miss what the other has written: no turn is slept
 * through, and no system call is made while the other is awake.
 */
#include "agent.h"
#include "system_call.h"

#include <linux/futex.h>

#define LOOK_CYCLES (1 << 18)	/* of the TSC: about a hundred microseconds, as long as a wake-up on another processor */

void give_turn(struct channel *channel)
{
	__atomic_store_n(&channel->turn, TURN_PYTHON, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&channel->python_sleeps, __ATOMIC_SEQ_CST))
		call(SYS_futex, (long)&channel->turn, FUTEX_WAKE, 1, 0, 0, 0);
}

static int is_ours(const struct channel *channel)
{
	return __atomic_load_n(&channel->turn, __ATOMIC_SEQ_CST) == TURN_AGENT;
}

/* Looks for the turn for a while, where that is worth while; whether it has come. */
static int look(struct channel *channel)
{
	unsigned int vain = ++channel->vain;	/* until it turns out otherwise */
	uint64_t start = __builtin_ia32_rdtsc();

	if (!channel->looks || (vain > LOOKS_IN_VAIN && vain % LOOKS_SELDOM))
		return is_ours(channel);
	while (!is_ours(channel)) {
		if (__builtin_ia32_rdtsc() - start > LOOK_CYCLES)
			return 0;
		__builtin_ia32_pause();
	}
	channel->vain = 0;
	return 1;
}

void await_turn(struct channel *channel)
{
	if (look(channel))
		return;
	__atomic_store_n(&channel->agent_sleeps, 1, __ATOMIC_SEQ_CST);
	while (!is_ours(channel))
		call(SYS_futex, (long)&channel->turn, FUTEX_WAIT, TURN_PYTHON, 0, 0, 0);
	__atomic_store_n(&channel->agent_sleeps, 0, __ATOMIC_SEQ_CST);
}
