/*
 * What `enclu explain` traces.  One runtime alone, whose enclave writes to a page that the EPCM makes read-only; then
 * another comes, which knows nothing of the first, and the first one's enclave does the same again.
 *
 * It prints what the trace cannot know: what is mapped where, and what hosts are told.
 */
#include "pair.h"

#include <asm/sgx.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>

static enum sgx_decision on_exception(void *context, const struct sgx_exception *exception)
{
	struct pair *pair = context;

	pair->times++;
	printf("told %s %u %u %#x %#lx\n", pair->name, exception->leaf, exception->vector, exception->error_code,
	       exception->address);
	fflush(stdout);
	return SGX_FAIL;
}

/* The first page of the enclave's heap becomes read-only: EMODPR. */
static void protect(struct pair *pair)
{
	struct sgx_enclave_restrict_permissions parameters = { .offset = pair->enclave.heap, .length = SGX_PAGE,
		.permissions = 1 };

	refused_if(ioctl(pair->enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &parameters) ? errno : 0,
		   "restricting the page");
}

static void load(struct pair *pair, const char *name, struct sgx_runtime *runtime)
{
	*pair = (struct pair){ .name = name, .runtime = runtime };
	must_load(runtime, &pair->enclave, "explain/protected.elf");
	protect(pair);
}

/* The host is told of it, and then the enclave gives up. */
static bool write_to_it(struct pair *pair)
{
	uint8_t *tcs = sgx_tcs(&pair->enclave, 0), *page = pair->enclave.base + pair->enclave.heap;
	struct step steps[] = { { STEP_WRITE, (uint64_t)page, 42, 0 }, { STEP_END, 0, 0, 0 } };
	struct sgx_host host = { .exception = on_exception, .context = pair };
	unsigned int before = pair->times;

	return pair->runtime->call(&pair->enclave, tcs, BASIC_RUN, steps, &host, NULL, NULL) == EFAULT &&
	       pair->times == before + 1 && !pair->runtime->reset(&pair->enclave, tcs);
}

static void tell_of_memory(void)
{
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "r");

	printf("vdso %#lx\n", getauxval(AT_SYSINFO_EHDR));
	while (maps && fgets(line, sizeof(line), maps))
		printf("map %s", line);
	if (maps)
		fclose(maps);
	fflush(stdout);
}

int main(void)
{
	struct sgx_runtime *a = open_runtime("a"), *b = open_runtime("b");
	struct pair first, second;

	must_start(a);
	load(&first, "a", a);
	tell_of_memory();
	ok(write_to_it(&first), "alone, the first host is told");
	refused_if(b->start(), "starting the second runtime");
	load(&second, "b", b);
	ok(write_to_it(&first), "the first host is told again");
	ok_eq(second.times, 0, "the second host is not told of it");
	finish();
}
