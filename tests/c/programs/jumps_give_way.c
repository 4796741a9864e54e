/* Where a program maps something of its own, it has that, whatever the machine had there; its entries go on. */
#include "enclave.h"

static struct enclave enclave;
static volatile bool stop;
static _Atomic long wrong, count;

static void *work(void *argument)
{
	uint64_t index = (uint64_t)argument;

	for (long i = 0; i < 200 || (index && !stop); i++, count++) {
		struct request request = { .op = OP_ADD, .a = i, .b = index };

		wrong += attempt(enclave_tcs(&enclave, index), &request, EENTER).function != EEXIT || request.result != i + index;
	}
	return NULL;
}

/* A page that can be executed and is of no file, but for what the machine has above all of the program's; NULL if none. */
static void *strange_page(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, inode;
	char line[512], flags[8];
	void *found = NULL;

	while (!found && fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &start, &end, flags, &inode) == 4 && !inode
		    && !strcmp(flags, "r-xp") && !strchr(line, '[') && start >> 40 != 0x7e)
			found = (void *)start;
	fclose(maps);
	return found;
}

int main(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, pages = 0;
	pthread_t other;
	long *page;

	enclave_load(&enclave, NULL);
	work(NULL);
	pthread_create(&other, NULL, work, (void *)1);
	for (; pages < 20 && (page = strange_page()) != NULL; pages++) {
		*(long *)mmap(page, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0) = (long)page;
		work(NULL);
		ok_eq(*page, page, "the page is the program's");
		munmap(page, PAGE);
		page = mmap(page, PAGE, PROT_NONE, flags, -1, 0);
		work(NULL);
	}
	stop = true;
	pthread_join(other, NULL);
	ok_eq(wrong, 0, "results");
	ok(count > 200, "%ld entries, %d pages", count, pages);
	return done();
}
