/* Loading the enclave of image.h, whole or in part, and what the driver can do with its pages afterwards. */
#include "conform.h"

enum filling { FILLED_ZERO, FILLED_RET, FILLED_TEXT, FILLED_TCS, FILLED_FS, FILLED_GS };

static const struct region {
	const char *name;
	uint64_t offset, pages, flags;
	int measured;
	enum filling filling;
} regions[] = {
#define REGION(...) { __VA_ARGS__ },
	REGIONS(REGION)
	{ "hole", HOLE, (ENCLAVE_SIZE - HOLE) / PAGE, 0, 0, FILLED_ZERO },
};

struct enclave enclave = { .fd = -1 };
uint8_t memory[4 * PAGE] __attribute__((aligned(PAGE)));
static uint8_t source[40 * PAGE] __attribute__((aligned(PAGE)));

const char *name_of(uint64_t address, uint64_t *offset)
{
	if (address - (uint64_t)memory < sizeof(memory)) {
		*offset = address - (uint64_t)memory;
		return "memory";
	}
	for (unsigned int i = 0; enclave.base && i < COUNT(regions); i++) {
		*offset = address - enclave.base - regions[i].offset;
		if (*offset < regions[i].pages * PAGE)
			return regions[i].name;
	}
	return NULL;
}

uint64_t place(uint64_t offset)
{
	return enclave.base + offset;
}

int open_device(void)
{
	long fd = call3(SYS_OPEN, (long)"/dev/sgx_enclave", O_RDWR | O_CLOEXEC, 0);

	if (fd == -ENOENT || fd == -EACCES)
		unsupported(fd == -ENOENT ? "no /dev/sgx_enclave" : "no permission to open /dev/sgx_enclave");
	if (fd < 0)
		broken("open: %e", fd);
	return enclave.fd = (int)fd;
}

uint64_t reserve(uint64_t size)
{
	long got = call6(SYS_MMAP, 0, (long)(2 * size), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t base = ((uint64_t)got + size - 1) & -size;

	if (got < 0)
		broken("mmap of addresses: %e", got);
	call3(SYS_MUNMAP, got, (long)(base - (uint64_t)got), 0);
	call3(SYS_MUNMAP, (long)(base + size), (long)((uint64_t)got + size - base), 0);
	return base;
}

/* `frame` is SSAFRAMESIZE, in pages. */
long create(uint64_t base, uint64_t size, uint64_t attributes, uint64_t xfrm, uint32_t miscselect, uint32_t frame)
{
	static struct secs secs __attribute__((aligned(PAGE)));
	struct sgx_enclave_create argument = { (uint64_t)&secs };

	secs = (struct secs){ .size = size, .baseaddr = base, .ssaframesize = frame, .miscselect = miscselect,
		.attributes = attributes, .xfrm = xfrm };
	return call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_CREATE, (long)&argument);
}

/* Returns the ioctl's result; `count` is what it says to have added, where that is asked. */
long add(uint64_t offset, uint64_t length, uint64_t flags, const void *from, uint64_t *count)
{
	struct secinfo secinfo = { .flags = flags & ~MEASURED };
	struct sgx_enclave_add_pages argument = { .src = (uint64_t)from, .offset = offset, .length = length,
		.secinfo = (uint64_t)&secinfo, .flags = flags & MEASURED ? SGX_PAGE_MEASURE : 0 };
	long result = call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, (long)&argument);

	if (count)
		*count = argument.count;
	return result;
}

static void fill_pages(uint8_t *pages, const struct region *region, unsigned int *tcs, uint64_t tcs_flags)
{
	uint64_t *words = (uint64_t *)pages;

	fill(pages, region->filling == FILLED_RET ? 0xc3 : 0, region->pages * PAGE);
	switch (region->filling) {
	case FILLED_TEXT:
		copy(pages, image_text, sizeof(image_text));
		break;
	case FILLED_TCS:
		words[1] = tcs_flags;
		copy(pages + 16, image_tcs[*tcs], 24);
		copy(pages + 48, &image_tcs[*tcs][3], 16);
		words[8] = ~0ull; /* FSLIMIT, GSLIMIT */
		++*tcs;
		break;
	case FILLED_FS:
		words[0] = FS_MARK;
		break;
	case FILLED_GS:
		words[0] = GS_MARK;
		break;
	default:
		break;
	}
}

long init(const void *sigstruct)
{
	struct sgx_enclave_init argument = { (uint64_t)sigstruct };

	return call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_INIT, (long)&argument);
}

static int protection_of(const struct region *region)
{
	if (region->filling == FILLED_TCS || region->offset == HOLE)
		return PROT_READ | PROT_WRITE;
	return (int)(region->flags & 7);
}

static void map_regions(uint64_t but)
{
	for (unsigned int i = 0, next; i < COUNT(regions); i = next) {
		const struct region *region = &regions[i];
		uint64_t pages = 0;
		long got;

		for (next = i; next < COUNT(regions) && protection_of(&regions[next]) == protection_of(region); next++)
			pages += regions[next].pages;
		if (but && region->offset == but)
			continue;
		got = call6(SYS_MMAP, (long)place(region->offset), (long)(pages * PAGE), protection_of(region),
			    MAP_SHARED | MAP_FIXED, enclave.fd, 0);
		if (got < 0)
			broken("mmap of %s: %e", region->name, got);
	}
}

static int same_addition(const struct region *region, const struct region *first)
{
	return region->offset != HOLE && region->flags == first->flags && region->measured == first->measured;
}

void load(struct options options)
{
	unsigned int tcs = 0;
	long result;

	open_device();
	enclave.base = reserve(ENCLAVE_SIZE);
	if (options.state == OPENED)
		return;
	if (options.attributes & PROVISIONKEY) {
		long fd = call3(SYS_OPEN, (long)"/dev/sgx_provision", O_RDWR | O_CLOEXEC, 0);
		struct sgx_enclave_provision provision = { (uint64_t)fd };

		if (fd < 0)
			unsupported("/dev/sgx_provision cannot be opened");
		result = call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_PROVISION, (long)&provision);
		if (result)
			broken("SGX_IOC_ENCLAVE_PROVISION: %e", result);
	}
	result = create(enclave.base, ENCLAVE_SIZE, MODE64BIT | options.attributes, options.xfrm ? options.xfrm : 3,
			options.miscselect, SSA_FRAME_PAGES);
	if (result)
		broken("SGX_IOC_ENCLAVE_CREATE: %e", result);
	if (options.state == CREATED)
		return;
	if (options.mapped_before) {
		result = call6(SYS_MMAP, (long)place(options.mapped_before), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			       MAP_SHARED | MAP_FIXED, enclave.fd, 0);
		if (result < 0)
			broken("mmap before ADD_PAGES: %e", result);
	}
	for (unsigned int i = 0, next; regions[i].offset != HOLE; i = next) {
		const struct region *region = &regions[i];
		uint64_t size = 0;

		for (next = i; same_addition(&regions[next], region); next++) {
			fill_pages(source + size, &regions[next], &tcs, options.tcs_flags);
			size += regions[next].pages * PAGE;
		}
		result = add(region->offset, size, region->flags | (region->measured ? MEASURED : 0), source, NULL);
		if (result)
			broken("SGX_IOC_ENCLAVE_ADD_PAGES of %s: %e", region->name, result);
	}
	if (options.state == ADDED)
		return;
	result = init(image_sigstruct[options.signature]);
	if (result)
		broken("SGX_IOC_ENCLAVE_INIT: %e", result);
	map_regions(options.mapped_before);
}

void need_sgx2(void)
{
	uint32_t leaf[4];

	cpuid(0x12, 0, leaf);
	if (!(leaf[0] & 2))
		unsupported("no SGX2 (CPUID.12H.0:EAX.SGX2)");
}

void need_edeccssa(void)
{
	uint32_t leaf[4];

	cpuid(0x12, 0, leaf);
	if (!(leaf[0] & 1 << 11))
		unsupported("no EDECCSSA (CPUID.12H.0:EAX[11])");
}

void need_exinfo(void)
{
	uint32_t leaf[4];

	cpuid(0x12, 0, leaf);
	if (!(leaf[1] & MISC_EXINFO))
		unsupported("no MISCSELECT.EXINFO (CPUID.12H.0:EBX[0])");
}

void need_aexnotify(void)
{
	uint32_t leaf[4];

	cpuid(0x12, 1, leaf);
	if (!(leaf[0] & AEXNOTIFY))
		unsupported("no AEX-Notify (CPUID.12H.1:EAX[10])");
}

static long checked(long result)
{
	if (result == -ENOTTY || result == -ENODEV)
		unsupported("the kernel has no ioctls of SGX2 (Linux 6.0 has)");
	return result;
}

/* One page each. */
long restrict_to(uint64_t offset, uint64_t permissions)
{
	struct sgx_enclave_restrict_permissions argument = { .offset = offset, .length = PAGE, .permissions = permissions };

	return checked(call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, (long)&argument));
}

long modify(uint64_t offset, uint64_t type)
{
	struct sgx_enclave_modify_types argument = { .offset = offset, .length = PAGE, .page_type = type };

	return checked(call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, (long)&argument));
}

long remove_page(uint64_t offset)
{
	struct sgx_enclave_remove_pages argument = { .offset = offset, .length = PAGE };

	return checked(call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, (long)&argument));
}
