/* The token's heap, instead of what every enclave has.  One thread at a time is in here. */
#include "heap.h"
#include "trusted.h"

static uint64_t used;	/* bytes from the heap's start */

uint64_t heap_end(void)
{
	return (uint64_t)enclave_end + enclave_spare_pages * SGX_PAGE;
}

bool in_heap(uint64_t address)
{
	return address >= (uint64_t)enclave_end && address < heap_end();
}

static void *from_heap(uint64_t size, uint64_t alignment)
{
	uint64_t start = (used + alignment - 1) & -alignment;

	if (size > enclave_spare_pages * SGX_PAGE - start)
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
