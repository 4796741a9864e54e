/*
 * malloc(3) and its like: the first free block that is large enough, of the heap's pages and, behind them, the spare
 * addresses, whose pages are added and accepted when they are first touched.
 */
#include "sgx.h"
#include "trusted.h"

#include <stdlib.h>
#include <string.h>

/* Before each block.  Blocks lie one behind the other; the last is where the heap ends. */
struct block {
	uint64_t size;	/* of the block, without this */
	uint64_t used;
};

#define PAGE_FAULT 14
#define SGX_BIT 0x8000u
#define SGX_PAGE_ATTRIBUTES_MISMATCH 19

bool accept_spare_page(const struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	uint8_t *page = (uint8_t *)(exinfo->address & -SGX_PAGE), *spare = enclave_end + enclave_heap_pages * SGX_PAGE;
	uint64_t error;

	if (!(gpr->exitinfo & EXITINFO_VALID) || (gpr->exitinfo & EXITINFO_VECTOR) != PAGE_FAULT ||
	    !(exinfo->error_code & SGX_BIT) || page < spare || page >= spare + enclave_spare_pages * SGX_PAGE)
		return false;
	error = sgx_accept_page(page);
	/* Another thread may have been here. */
	return !error || error == SGX_PAGE_ATTRIBUTES_MISMATCH;
}

__attribute__((weak)) bool enclave_exception(struct ssa_gpr *gpr, const struct ssa_exinfo *exinfo)
{
	return accept_spare_page(gpr, exinfo);
}

static bool locked;

static void lock(void)
{
	while (__atomic_exchange_n(&locked, true, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
}

static void unlock(void)
{
	__atomic_store_n(&locked, false, __ATOMIC_RELEASE);
}

static struct block *next(const struct block *block)
{
	return (struct block *)((uint8_t *)(block + 1) + block->size);
}

static uint64_t heap_size(void)
{
	return (enclave_heap_pages + enclave_spare_pages) * SGX_PAGE;
}

static void *allocate(uint64_t size)
{
	struct block *block = (struct block *)enclave_end, *end = (struct block *)(enclave_end + heap_size());

	if (block != end && !block->size)	/* never used: the pages are zero */
		block->size = (uint8_t *)end - (uint8_t *)(block + 1);
	for (; block != end; block = next(block)) {
		while (!block->used && next(block) != end && !next(block)->used)
			block->size += sizeof(*block) + next(block)->size;
		if (block->used || block->size < size)
			continue;
		if (block->size >= size + 2 * sizeof(*block)) {
			struct block *rest = (struct block *)((uint8_t *)(block + 1) + size);

			rest->size = block->size - size - sizeof(*block);
			rest->used = false;
			block->size = size;
		}
		block->used = true;
		return block + 1;
	}
	return NULL;
}

__attribute__((weak)) void *malloc(size_t size)
{
	void *allocated = NULL;

	if (size <= heap_size()) {
		lock();
		allocated = allocate((size + (size == 0) + 15) & -16ul);
		unlock();
	}
	return allocated;
}

__attribute__((weak)) void free(void *pointer)
{
	if (!pointer)
		return;
	lock();
	((struct block *)pointer)[-1].used = false;
	unlock();
}

__attribute__((weak)) void *calloc(size_t count, size_t size)
{
	void *allocated;

	if (__builtin_mul_overflow(count, size, &size))
		return NULL;
	allocated = malloc(size);
	return allocated ? memset(allocated, 0, size) : NULL;
}
