/* A system call.  There is no C library here: it would only be more to trust and to start. */
#ifndef ENCLU_AGENT_SYSTEM_CALL_H
#define ENCLU_AGENT_SYSTEM_CALL_H

#include <sys/syscall.h>

static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif
