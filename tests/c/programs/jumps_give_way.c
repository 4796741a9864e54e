/*
 * Where a program maps something of its own, or asks for what is mapped, it has the answers of memory that nobody has,
 * whatever the machine had there; its entries go on.
 */
#include "enclave.h"

#include <sys/shm.h>

#define ELRANGE (1ul << 33)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

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

/* What is there is the program's, before entries and after. */
static void check(const char *name, void *got, long *page)
{
	if (!ok(got == page, "%s", name))
		return;
	*page = (long)page;
	work(NULL);
	ok_eq(*page, page, "the page is the program's");
}

static void fixed(long *page)
{
	check("MAP_FIXED", mmap(page, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED, -1, 0), page);
}

static void noreplace(long *page)
{
	check("MAP_FIXED_NOREPLACE", mmap(page, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), page);
}

static void moved(long *page)
{
	void *mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, ANONYMOUS, -1, 0);

	check("mremap", mremap(mine, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page), page);
}

static void attached(long *page)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0600);

	check("shmat", shmat(id, page, 0), page);
	shmctl(id, IPC_RMID, NULL);
}

static void protected(long *page)
{
	ok(mprotect(page, PAGE, PROT_READ | PROT_WRITE) && errno == ENOMEM, "mprotect: ENOMEM");
}

static void advised(long *page)
{
	ok(madvise(page, PAGE, MADV_DONTNEED) && errno == ENOMEM, "madvise: ENOMEM");
}

static void device(long *page)
{
	void *tcs = enclave_tcs(&enclave, 0);

	ok(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0) == page, "the device");
	if ((uint64_t)page / ELRANGE != (uint64_t)enclave.base / ELRANGE)
		return;
	ok_eq(ask(tcs, OP_EACCEPT, (uint64_t)page, PT_REG_FLAGS | RW_PENDING, 0), 0, "EACCEPT of a page added there");
	ask(tcs, OP_WRITE, (uint64_t)page, 42, 0);
	work(NULL);
	ok_eq(ask(tcs, OP_READ, (uint64_t)page, 0, 0), 42, "the page is the enclave's");
}

int main(void)
{
	static void (*const ways[])(long *) = { fixed, noreplace, moved, attached, protected, advised, device };
	const int all = sizeof ways / sizeof *ways;
	/* What the enclave's jumps reach is in ELRANGE. */
	struct enclave_options options = { .elrange_size = ELRANGE, .elrange_base = 3 * ELRANGE, .place = ELRANGE / 2 };
	pthread_t other;
	int pages = 0;
	long *page;

	enclave_load(&enclave, &options);
	work(NULL);
	pthread_create(&other, NULL, work, (void *)1);
	for (; pages < 2 * all && (page = strange_page()) != NULL; pages++) {
		ways[pages % all](page);
		munmap(page, PAGE);
		mmap(page, PAGE, PROT_NONE, ANONYMOUS | MAP_FIXED, -1, 0);
		work(NULL);
	}
	stop = true;
	pthread_join(other, NULL);
	ok_eq(wrong, 0, "results");
	ok(count > 200, "%ld entries", count);
	ok(pages >= all, "%d pages of the machine's: each way to have one was gone", pages);
	return done();
}
