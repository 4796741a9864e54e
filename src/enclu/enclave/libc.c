/* What enclaves and compilers want of a C library: <string.h>, and words for what an enclave cannot have. */
#include <stdint.h>
#include <string.h>

size_t strlen(const char *string)
{
	size_t length = 0;

	while (string[length])
		length++;
	return length;
}

int strcmp(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return (uint8_t)*a - (uint8_t)*b;
}

/* What hardened libraries call (_FORTIFY_SOURCE, -fstack-protector). */
void *__memset_chk(void *to, int value, size_t size, size_t space);
void *__memset_chk(void *to, int value, size_t size, size_t space)
{
	if (size > space)
		__builtin_trap();
	return memset(to, value, size);
}

void *__memcpy_chk(void *to, const void *from, size_t size, size_t space);
void *__memcpy_chk(void *to, const void *from, size_t size, size_t space)
{
	if (size > space)
		__builtin_trap();
	return memcpy(to, from, size);
}

void __explicit_bzero_chk(void *to, size_t size, size_t space);
void __explicit_bzero_chk(void *to, size_t size, size_t space)
{
	__memset_chk(to, 0, size, space);
	__asm__ volatile("" : : "r"(to) : "memory");
}

void __stack_chk_fail(void);
__attribute__((noreturn)) void __stack_chk_fail(void)
{
	__builtin_trap();
}

/* Files, clocks, locks, processes: objects of static libraries name them.  An enclave that calls one traps (#UD). */
__attribute__((noreturn, used)) void enclave_has_none(void);
__attribute__((noreturn, used)) void enclave_has_none(void)
{
	__builtin_trap();
}

#define NONE(name) __asm__(".weak " #name "; .set " #name ", enclave_has_none")
NONE(__printf_chk);
NONE(__snprintf_chk);
NONE(snprintf);
NONE(puts);
NONE(putchar);
NONE(fopen);
NONE(fclose);
NONE(fread);
NONE(fwrite);
NONE(fgets);
NONE(ferror);
NONE(fseek);
NONE(ftell);
NONE(setbuf);
NONE(remove);
NONE(rename);
NONE(time);
NONE(clock_gettime);
NONE(gmtime_r);
NONE(rand);
NONE(getpid);
NONE(syscall);
NONE(__errno_location);
NONE(pthread_mutex_init);
NONE(pthread_mutex_destroy);
NONE(pthread_mutex_lock);
NONE(pthread_mutex_unlock);
