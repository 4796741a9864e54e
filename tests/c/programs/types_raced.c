/* Threads do the same as fast as they can while what they do it with is trimmed, removed and added again: one reads a
   page, one enters by a TCS whose SSA is trimmed, two by a TCS that is trimmed itself.  Each entry is right, or faults;
   once SGX_IOC_ENCLAVE_MODIFY_TYPES has returned, it faults, until the enclave is about to accept what comes next. */
#include "enclave.h"

#define ROUNDS 15
#define TRIM 4
#define TCS 1
#define MODIFIED 0x10
#define NEW (PT_REG_FLAGS | RW_PENDING)

static struct enclave enclave;
static void *acceptor;
static _Atomic long wrong, failed;
static volatile bool stop;

/* What is trimmed: a page, of which the `made`th may have been accepted, the `usable`th has been, and the `gone`th has
   been trimmed. */
static struct target {
	const char *name;
	uint64_t page, offset;
	void *tcs;
	_Atomic long made, usable, gone;
} heap = { .name = "page" }, ssa = { .name = "SSA" }, tcs = { .name = "TCS" };

static struct worker {
	struct target *target;
	pthread_t thread;
	_Atomic long right, faults;
	_Atomic bool waits;
} workers[] = { { .target = &heap }, { .target = &ssa }, { .target = &tcs }, { .target = &tcs } };

#define WORKERS ((int)(sizeof workers / sizeof *workers))

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct target *target = worker->target;

	for (uint64_t i = 0; !stop; i++) {
		bool reads = target == &heap, right;
		long gone = target->gone, made;
		struct request request = { .op = reads ? OP_READ : OP_ADD, .a = reads ? target->page : i, .b = 7 };
		struct outcome got = attempt(target->tcs, &request, EENTER);

		made = target->made;
		/* The page holds the number of the one that it is, or nothing yet. */
		right = got.function == EEXIT && made > gone &&
			(reads ? !request.result || (long)request.result > gone : request.result == i + 7);
		if (right)
			worker->right++;
		else if (got.function != EEXIT && got.vector == 14 && (got.address & -PAGE) == target->page)
			worker->faults++;
		else if (target == &tcs && got.function == EENTER && got.vector == 13)
			continue; /* the other is in it */
		else if (wrong++ < 5)
			printf("# %s, %ld gone, %ld made: leaf %u, result %#lx, vector %d, error code %#x, address %#lx\n", target->name,
			       gone, made, got.function, request.result, got.vector, got.error, got.address);
		/* EDECCSSA looks at the frame that it goes back to. */
		worker->waits = got.function == ERESUME && target == &ssa;
		while (worker->waits && target->usable <= made && !stop)
			usleep(50);
		worker->waits = false;
		if (got.function == ERESUME && target != &tcs && !stop)
			drop_frame(target->tcs);
	}
	return NULL;
}

static void modify(struct target *target, int type)
{
	struct sgx_enclave_modify_types types = { .offset = target->offset, .length = PAGE, .page_type = type };

	failed += ioctl(enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &types) != 0;
}

static void accept_page(struct target *target, uint64_t flags)
{
	failed += ask(acceptor, OP_EACCEPT, target->page, flags, 0) != 0;
}

static void entered(struct worker *worker)
{
	for (long before = worker->right; worker->right < before + 100 && !wrong && !failed; )
		usleep(50);
}

/* The second entry of each thread that faults has begun after this has. */
static void refused(struct target *target)
{
	for (struct worker *w = workers; w < workers + WORKERS; w++)
		for (long before = w->faults; w->target == target && !w->waits && w->faults < before + 2 && !wrong && !failed; )
			usleep(50);
}

static void renew(struct target *target)
{
	struct sgx_enclave_remove_pages removal = { .offset = target->offset, .length = PAGE };

	modify(target, TRIM);
	target->gone = target->made;
	refused(target);
	accept_page(target, PT_TRIM_FLAGS | MODIFIED);
	failed += ioctl(enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removal) != 0;
	refused(target);
	target->made += target != &tcs;
	accept_page(target, NEW);
	target->usable = target->made;
}

static void make_tcs(void)
{
	ask(acceptor, OP_MAKE_TCS, tcs.page, enclave.spare + 2 * PAGE, 0);
	modify(&tcs, TCS);
	refused(&tcs);
	tcs.made++;
	accept_page(&tcs, PT_TCS_FLAGS | MODIFIED);
}

static void have(struct target *target, uint64_t address, void *tcs)
{
	target->page = address;
	target->offset = address - (uint64_t)enclave.base;
	target->tcs = tcs;
}

int main(void)
{
	struct enclave_options options = { .heap_pages = 1, .spare_pages = 3 };
	struct target *targets[] = { &heap, &ssa, &tcs };
	uint64_t spare;

	enclave_load(&enclave, &options);
	spare = (uint64_t)enclave.base + enclave.spare;
	acceptor = enclave_tcs(&enclave, 3);
	have(&heap, (uint64_t)enclave.base + enclave.heap, enclave_tcs(&enclave, 0));
	have(&ssa, (uint64_t)enclave_ssa(&enclave, 1, 0), enclave_tcs(&enclave, 1));
	have(&tcs, spare + PAGE, (void *)(spare + PAGE));
	heap.made = ssa.made = 1;
	for (uint64_t page = spare; page < spare + 3 * PAGE; page += PAGE) /* its stack, itself, its SSA */
		ask(acceptor, OP_EACCEPT, page, NEW, 0);
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	for (int i = 0; i < ROUNDS && !wrong && !failed; i++) {
		make_tcs();
		ask(acceptor, OP_WRITE, heap.page, heap.made, 0);
		for (int j = 0; j < WORKERS; j++)
			entered(&workers[j]);
		for (int j = 0; j < 3; j++)
			renew(targets[j]);
	}
	stop = true;
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	ok_eq(failed, 0, "every change was made");
	ok_eq(wrong, 0, "every entry was right, or faulted for a reason");
	for (int i = 0; i < WORKERS; i++)
		ok(workers[i].right >= 100 * ROUNDS, "%s: %ld were right, %ld faulted", workers[i].target->name, workers[i].right,
		   workers[i].faults);
	return done();
}
