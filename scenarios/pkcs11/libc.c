/* What libmbedcrypto wants of a C library.  One thread at a time is in here. */
#include "heap.h"
#include "enclaves/trusted.h"

#ifndef HEAP_PAGES
#error "the enclave's spare_pages"
#endif

static uint64_t used;	/* bytes from the heap's start */

uint64_t heap_end(void)
{
	return (uint64_t)enclave_end + HEAP_PAGES * SGX_PAGE;
}

bool in_heap(uint64_t address)
{
	return address >= (uint64_t)enclave_end && address < heap_end();
}

static void *from_heap(uint64_t size, uint64_t alignment)
{
	uint64_t start = (used + alignment - 1) & -alignment;

	if (size > HEAP_PAGES * SGX_PAGE - start)
		return NULL;
	used = start + size;
	return enclave_end + start;
}

void *new_page(void)
{
	return from_heap(SGX_PAGE, SGX_PAGE);
}

/* Blocks are powers of two; before each there is its exponent or, when it is free, the next free one. */
union header {
	uint64_t exponent;
	union header *next;
	uint8_t aligned[16];
};
static union header *free_blocks[64];

void *calloc(size_t count, size_t size)
{
	unsigned int exponent = 5;
	union header *block;
	uint64_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > 1ull << 32)
		return NULL;
	while ((1ull << exponent) < bytes + sizeof(*block))
		exponent++;
	block = free_blocks[exponent];
	if (block)
		free_blocks[exponent] = block->next;
	else
		block = from_heap(1ull << exponent, sizeof(*block));
	if (!block)
		return NULL;
	block->exponent = exponent;
	return memset(block + 1, 0, bytes);
}

void free(void *pointer)
{
	union header *block = (union header *)pointer - 1;
	uint64_t exponent;

	if (!pointer)
		return;
	exponent = block->exponent;
	block->next = free_blocks[exponent];
	free_blocks[exponent] = block;
}

void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t size)
{
	if ((uint64_t)to - (uint64_t)from >= size)
		return memcpy(to, from, size);
	while (size--)
		((volatile uint8_t *)to)[size] = ((const uint8_t *)from)[size];
	return to;
}

void *memset(void *to, int value, size_t size)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

void *__memset_chk(void *to, int value, size_t size, size_t space);
void *__memset_chk(void *to, int value, size_t size, size_t space)
{
	if (size > space)
		__builtin_trap();
	return memset(to, value, size);
}

int memcmp(const void *a, const void *b, size_t size)
{
	const uint8_t *x = a, *y = b;

	for (; size; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

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

/* Files, terminals, clocks and locks: libmbedcrypto's objects name them, but nothing that the token calls does. */
__attribute__((noreturn)) void absent(void);
__attribute__((noreturn)) void absent(void)
{
	__builtin_trap();
}

#define ABSENT(name) __asm__(".globl " #name "; .set " #name ", absent")
ABSENT(__stack_chk_fail);
ABSENT(__printf_chk);
ABSENT(puts);
ABSENT(putchar);
ABSENT(fopen);
ABSENT(fclose);
ABSENT(fread);
ABSENT(fwrite);
ABSENT(fgets);
ABSENT(ferror);
ABSENT(gmtime_r);
ABSENT(pthread_mutex_init);
ABSENT(pthread_mutex_destroy);
ABSENT(pthread_mutex_lock);
ABSENT(pthread_mutex_unlock);
