/* The ioctls that put an enclave together: what the driver refuses, and how much it has done by then. */
#include "conform.h"

#define CREATE_SAYS "Linux sgx_encl_create()"
#define ADD_SAYS "Linux sgx_ioc_enclave_add_pages()"
#define SECINFO_SAYS "Linux sgx_validate_secinfo()"

/* SGX_IOC_ENCLAVE_CREATE.  a: which 8 bytes of SECS are b (c: which bits of them are changed; 0: all). */
static struct secs proper(void)
{
	return (struct secs){ .size = ENCLAVE_SIZE, .baseaddr = enclave.base, .ssaframesize = SSA_FRAME_PAGES,
		.attributes = MODE64BIT, .xfrm = 3 };
}

static long create_from(const struct secs *secs)
{
	struct sgx_enclave_create argument = { (uint64_t)secs };

	return call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_CREATE, (long)&argument);
}

static void create_with(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	secs = proper();
	if (claim->c)
		((uint64_t *)&secs)[claim->a] ^= claim->b;
	else
		((uint64_t *)&secs)[claim->a] = claim->b;
	say("%e", create_from(&secs));
}

static void create_misaligned(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	secs = proper();
	secs.baseaddr += claim->a;
	say("%e", create_from(&secs));
}

static void create_frame(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	secs = proper();
	secs.ssaframesize = (uint32_t)claim->a;
	say("%e", create_from(&secs));
}

static void create_misc(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	secs = proper();
	secs.miscselect = (uint32_t)claim->a;
	say("%e", create_from(&secs));
}

static void create_twice(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	secs = proper();
	if (claim->a) { /* refused first */
		secs.size = 0x3000;
		create_from(&secs);
		secs.size = ENCLAVE_SIZE;
	} else {
		create_from(&secs);
	}
	say("%e", create_from(&secs));
}

static void create_pointer(const struct claim *claim)
{
	struct sgx_enclave_create argument = { NOWHERE };

	load((struct options){ .state = OPENED });
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_CREATE, claim->a ? (long)NOWHERE : (long)&argument));
}

enum descriptor { SECOND_OPEN, COPY, READ_ONLY };

static void create_by(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	secs = proper();
	if (claim->a != READ_ONLY)
		create_from(&secs);
	if (claim->a == COPY)
		enclave.fd = (int)call3(SYS_DUP, enclave.fd, 0, 0);
	else
		enclave.fd = (int)call3(SYS_OPEN, (long)"/dev/sgx_enclave", claim->a == READ_ONLY ? O_RDONLY : O_RDWR, 0);
	say("%e", create_from(&secs));
}

/* A SECS that is refused for its SIZE, whatever else is wrong with it. */
static void create_all_wrong(const struct claim *claim)
{
	static struct secs secs;

	load((struct options){ .state = OPENED });
	fill(&secs, 0xff, sizeof(secs));
	secs.size = claim->a;
	say("%e", create_from(&secs));
}

/* a: how far the SECS is from the end of what can be read. */
static void create_at_end(const struct claim *claim)
{
	static struct secs secs;
	void *end = memory + 2 * PAGE - claim->a;

	load((struct options){ .state = OPENED });
	secs = proper();
	copy(end, &secs, claim->a < PAGE ? claim->a : PAGE);
	if (call3(SYS_MPROTECT, (long)(memory + 2 * PAGE), PAGE, PROT_NONE))
		broken("mprotect");
	say("%e", create_from(end));
}

/* SIZE is what CPUID says to be the most, times a. */
static void create_largest(const struct claim *claim)
{
	static struct secs secs;
	uint32_t leaf[4];

	cpuid(0x12, 0, leaf);
	load((struct options){ .state = OPENED });
	secs = proper();
	secs.baseaddr = 0;
	secs.size = claim->a << (leaf[3] >> 8 & 0xff);
	if (secs.size > 1ull << 61)
		unsupported("MaxEnclaveSize_64 is more than any file has");
	say("%e", create_from(&secs));
}

static void create_twice_from_nowhere(const struct claim *claim)
{
	(void)claim;
	load((struct options){ .state = CREATED });
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_CREATE, NOWHERE));
}

#define AT(field) (__builtin_offsetof(struct secs, field) / 8)
static const struct claim creates[] = {
	{ "what is proper", CREATE_SAYS, "0", create_with, AT(size), ENCLAVE_SIZE, 0, 0 },
	{ "a second time", "Linux sgx_ioc_enclave_create()", "EINVAL", create_twice, 0, 0, 0, 0 },
	{ "after a refusal", "Linux sgx_ioc_enclave_create()", "0", create_twice, 1, 0, 0, 0 },
	{ "a second time, argument nowhere", "Linux sgx_ioc_enclave_create(): SGX_ENCL_CREATED comes first", "EINVAL", create_twice_from_nowhere, 0, 0, 0, 0 },
	{ "a second time, by a copy of the descriptor", "Linux sgx_ioctl(): private_data", "EINVAL", create_by, COPY, 0, 0, 0 },
	{ "another enclave, by a descriptor of its own", "Linux sgx_open()", "0", create_by, SECOND_OPEN, 0, 0, 0 },
	{ "by a descriptor that was opened to be read", "Linux sgx_ioctl(): no mode is asked", "0", create_by, READ_ONLY, 0, 0, 0 },
	{ "argument nowhere", "Linux sgx_ioc_enclave_create()", "EFAULT", create_pointer, 1, 0, 0, 0 },
	{ "SECS nowhere", "Linux sgx_ioc_enclave_create()", "EFAULT", create_pointer, 0, 0, 0, 0 },
	{ "SECS not of pages", "Linux sgx_ioc_enclave_create(): copy_from_user()", "0", create_at_end, PAGE + 8, 0, 0, 0 },
	{ "SECS whose last 8 bytes cannot be read", "Linux sgx_ioc_enclave_create(): copy_from_user()", "EFAULT", create_at_end, PAGE - 8, 0, 0, 0 },
	{ "SIZE 0", CREATE_SAYS ": is_power_of_2()", "EINVAL", create_with, AT(size), 0, 0, 0 },
	{ "SIZE 3 pages", CREATE_SAYS ": is_power_of_2()", "EINVAL", create_with, AT(size), 3 * PAGE, 0, 0 },
	{ "SIZE a page", "SDM 3D 38.3 ECREATE: SIZE >= 2 pages", "EIO", create_with, AT(size), PAGE, 0, 0 },
	{ "SIZE 2 pages", "SDM 3D 38.3 ECREATE: SIZE >= 2 pages", "0", create_with, AT(size), 2 * PAGE, 0, 0 },
	{ "SIZE 0, and everything else wrong", CREATE_SAYS ": is_power_of_2()", "EINVAL", create_all_wrong, 0, 0, 0, 0 },
	{ "SIZE 2^62", "SDM 3D 38.3 ECREATE: SIZE <= 2^CPUID.12H.0:EDX[15:8]", "EIO", create_with, AT(size), 1ull << 62, 0, 0 },
	{ "SIZE 2^63, and everything else wrong", CREATE_SAYS ": shmem_file_setup() knows no such size", "EINVAL", create_all_wrong, 1ull << 63, 0, 0, 0 },
	{ "SIZE MaxEnclaveSize_64", "SDM 3D 38.3 ECREATE: SIZE <= 2^CPUID.12H.0:EDX[15:8]", "0", create_largest, 1, 0, 0, 0 },
	{ "SIZE twice MaxEnclaveSize_64", "SDM 3D 38.3 ECREATE: SIZE <= 2^CPUID.12H.0:EDX[15:8]", "EIO", create_largest, 2, 0, 0, 0 },
	{ "BASEADDR 0", "SDM 3D 38.3 ECREATE: BASEADDR is aligned to SIZE", "0", create_with, AT(baseaddr), 0, 0, 0 },
	{ "BASEADDR a page off", "SDM 3D 38.3 ECREATE: BASEADDR is aligned to SIZE", "EIO", create_misaligned, PAGE, 0, 0, 0 },
	{ "BASEADDR not page aligned", "SDM 3D 38.3 ECREATE: BASEADDR is aligned to SIZE", "EIO", create_misaligned, 8, 0, 0, 0 },
	{ "BASEADDR not canonical", "SDM 3D 38.3 ECREATE: BASEADDR is canonical", "EIO", create_with, AT(baseaddr), 0x800000000000, 0, 0 },
	{ "SSAFRAMESIZE 0", "SDM 3D 38.3 ECREATE: SSAFRAMESIZE is enough for XFRM", "EIO", create_frame, 0, 0, 0, 0 },
	{ "SSAFRAMESIZE 1", "SDM 3D 38.3 ECREATE: SSAFRAMESIZE is enough for XFRM", "0", create_frame, 1, 0, 0, 0 },
	{ "ATTRIBUTES without MODE64BIT", "SDM 3D 38.3 ECREATE: SIZE and BASEADDR of a 32-bit enclave", "EIO", create_with, AT(attributes), 0, 0, 0 },
	{ "ATTRIBUTES.INIT", "SDM 3D 38.3 ECREATE: ATTRIBUTES.INIT is 0", "EIO", create_with, AT(attributes), ATTRIBUTE_INIT, 1, 0 },
	{ "ATTRIBUTES.DEBUG", "SDM 3D 38.3 ECREATE", "0", create_with, AT(attributes), DEBUG, 1, 0 },
	{ "ATTRIBUTES bit 3", "SDM 3D 38.3 ECREATE: ATTRIBUTES within CPUID.12H.1", "EIO", create_with, AT(attributes), 8, 1, 0 },
	{ "ATTRIBUTES bit 31", "SDM 3D 38.3 ECREATE: ATTRIBUTES within CPUID.12H.1", "EIO", create_with, AT(attributes), 1u << 31, 1, 0 },
	{ "ATTRIBUTES bit 63", "SDM 3D 38.3 ECREATE: ATTRIBUTES within CPUID.12H.1", "EIO", create_with, AT(attributes), 1ull << 63, 1, 0 },
	{ "ATTRIBUTES.PROVISIONKEY, for which EINIT will ask", CREATE_SAYS, "0", create_with, AT(attributes), PROVISIONKEY, 1, 0 },
	{ "ATTRIBUTES.EINITTOKENKEY, for which EINIT will ask", CREATE_SAYS, "0", create_with, AT(attributes), EINITTOKEN_KEY, 1, 0 },
	{ "MISCSELECT, the last bit", "SDM 3D 38.3 ECREATE: MISCSELECT within CPUID.12H.0:EBX", "EIO", create_misc, 1u << 31, 0, 0, 0 },
	{ "MISCSELECT bit 5", "SDM 3D 38.3 ECREATE: MISCSELECT within CPUID.12H.0:EBX", "EIO", create_misc, 1u << 5, 0, 0, 0 },
	{ "CONFIGID without KSS", "SDM 3D 38.3 ECREATE: CONFIGID is 0 without KSS", "EIO", create_with, 24, 1, 0, 0 },
	{ "CONFIGSVN without KSS", "SDM 3D 38.3 ECREATE: CONFIGSVN is 0 without KSS", "EIO", create_with, 32, 1ull << 32, 0, 0 },
	{ "SECS, a reserved byte before ATTRIBUTES", "SDM 3D 38.3 ECREATE: reserved fields", "EIO", create_with, 5, 1, 0, 0 },
	{ "SECS, the last byte", "SDM 3D 38.3 ECREATE: reserved fields", "EIO", create_with, 511, 1ull << 63, 0, 0 },
};
GROUP(create_group, "create", "SGX_IOC_ENCLAVE_CREATE", creates);

/* SGX_IOC_ENCLAVE_ADD_PAGES.  a: offset; b: length; c: SECINFO.FLAGS. */
static void add_with(const struct claim *claim)
{
	uint64_t count = 77;

	load((struct options){ .state = CREATED });
	say("%e", add(claim->a, claim->b, claim->c, memory, &count));
	say(", count %x", count);
}

static void add_in_state(const struct claim *claim)
{
	load((struct options){ .state = claim->a });
	say("%e", add(HOLE, PAGE, REG | R, memory, NULL));
}

static void add_source(const struct claim *claim)
{
	uint64_t count = 77;

	load((struct options){ .state = CREATED });
	say("%e", add(0, PAGE, REG | R, (void *)claim->a, &count));
	say(", count %x", count);
}

enum missing { THIRD_UNREADABLE, THIRD_UNMAPPED, THIRD_TAKEN, FIRST_TAKEN, BEYOND_END, THIRD_ENCLAVE_S };

/* Four pages, of which not all can be added. */
static void add_partly(const struct claim *claim)
{
	uint64_t count = 77, offset = 0;
	long result;

	load((struct options){ .state = CREATED });
	memory[2 * PAGE] = 1;
	switch ((enum missing)claim->a) {
	case THIRD_UNREADABLE:
		call3(SYS_MPROTECT, (long)(memory + 2 * PAGE), PAGE, PROT_NONE);
		break;
	case THIRD_UNMAPPED:
		call3(SYS_MUNMAP, (long)(memory + 2 * PAGE), PAGE, 0);
		break;
	case THIRD_TAKEN:
		add(2 * PAGE, PAGE, REG | R, memory, NULL);
		break;
	case FIRST_TAKEN:
		add(0, PAGE, REG | R, memory, NULL);
		break;
	case BEYOND_END:
		offset = ENCLAVE_SIZE - 2 * PAGE;
		break;
	case THIRD_ENCLAVE_S:
		call6(SYS_MMAP, (long)(memory + 2 * PAGE), PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0);
		break;
	}
	result = add(offset, 4 * PAGE, REG | R, memory, &count);
	say("%e, count %x", result, count);
}

/* a: which field of the argument is an address where nothing is; 9: the argument itself. */
static void add_pointer(const struct claim *claim)
{
	struct secinfo secinfo = { .flags = REG | R };
	uint64_t argument[6] = { (uint64_t)memory, 0, PAGE, (uint64_t)&secinfo, 0, 0 };

	load((struct options){ .state = CREATED });
	if (claim->a < 6)
		argument[claim->a] = NOWHERE & -(claim->a != 0);
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, claim->a < 6 ? (long)argument : (long)NOWHERE));
}

static void add_secinfo_byte(const struct claim *claim)
{
	struct secinfo secinfo = { .flags = REG | R };
	struct sgx_enclave_add_pages argument = { .src = (uint64_t)memory, .length = PAGE, .secinfo = (uint64_t)&secinfo };

	((uint8_t *)&secinfo)[claim->a] |= 0x80;
	load((struct options){ .state = CREATED });
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, (long)&argument));
}

/* A source whose protection is a. */
static void add_protected(const struct claim *claim)
{
	uint64_t count = 77;
	long result;

	load((struct options){ .state = CREATED });
	memory[0] = 1;
	if (call3(SYS_MPROTECT, (long)memory, PAGE, (long)claim->a))
		broken("mprotect");
	result = add(0, PAGE, REG | R, memory, &count);
	say("%e, count %x", result, count);
}

/* a: the enclave's state; fields of the argument that are wrong: b, which is c, and d, which is an address where nothing is. */
static void add_wrong(const struct claim *claim)
{
	struct secinfo secinfo = { .flags = REG | R };
	uint64_t argument[6] = { (uint64_t)memory, 0, PAGE, (uint64_t)&secinfo, 0, 0 };

	load((struct options){ .state = claim->a });
	argument[claim->b] = claim->c;
	if (claim->d < 6)
		argument[claim->d] = NOWHERE;
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, claim->d == 9 ? (long)NOWHERE : (long)argument));
}

/* A page that an enclave has read already is the source of another enclave. */
static void add_from_enclave(const struct claim *claim)
{
	struct request request = { 0 };
	struct outcome outcome;
	uint64_t count = 77;
	void *from;
	long result;

	(void)claim;
	load((struct options){ 0 });
	from = (void *)place(PAGE_R);
	request.in.rbx = place(PAGE_R);
	outcome = run_code(AT_read, &request);
	must_exit(&outcome, "a read before");
	open_device();
	enclave.base = reserve(ENCLAVE_SIZE);
	if (create(enclave.base, ENCLAVE_SIZE, MODE64BIT, 3, 0, SSA_FRAME_PAGES))
		broken("SGX_IOC_ENCLAVE_CREATE");
	result = add(0, PAGE, REG | R, from, &count);
	say("%e, count %x", result, count);
}

/* An argument that cannot be written back: the page is there all the same. */
static void add_read_only(const struct claim *claim)
{
	static struct secinfo secinfo = { .flags = REG | R };
	struct sgx_enclave_add_pages *argument = (struct sgx_enclave_add_pages *)(memory + PAGE);

	(void)claim;
	load((struct options){ .state = CREATED });
	*argument = (struct sgx_enclave_add_pages){ .src = (uint64_t)memory, .length = PAGE, .secinfo = (uint64_t)&secinfo };
	if (call3(SYS_MPROTECT, (long)argument, PAGE, PROT_READ))
		broken("mprotect");
	say("%e, ", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_ADD_PAGES, (long)argument));
	say("%e", add(0, PAGE, REG | R, memory, NULL));
}

/* a: the word of a TCS that is b. */
static void add_tcs(const struct claim *claim)
{
	load((struct options){ .state = CREATED });
	fill(memory, 0, PAGE);
	((uint64_t *)memory)[claim->a] = claim->b;
	say("%e", add(0, PAGE, TCS, memory, NULL));
}

#define SECINFO_OF(name, flags, result) { "SECINFO " name, SECINFO_SAYS, result, add_with, 0, PAGE, flags, 0 }
#define EINVAL_0 "EINVAL, count 0x0"
#define ADDED_1 "0, count 0x1000"
static const struct claim adds[] = {
	{ "a page", ADD_SAYS, ADDED_1, add_with, 0, PAGE, REG | R, 0 },
	{ "four pages", ADD_SAYS, "0, count 0x4000", add_with, 0, 4 * PAGE, REG | R, 0 },
	{ "the last page", "Linux sgx_validate_offset_length()", ADDED_1, add_with, ENCLAVE_SIZE - PAGE, PAGE, REG | R, 0 },
	{ "before CREATE", ADD_SAYS, "EINVAL", add_in_state, OPENED, 0, 0, 0 },
	{ "after INIT", ADD_SAYS, "EINVAL", add_in_state, INITIALISED, 0, 0, 0 },
	{ "length 0", "Linux sgx_validate_offset_length()", EINVAL_0, add_with, 0, 0, REG | R, 0 },
	{ "length not of pages", "Linux sgx_validate_offset_length()", EINVAL_0, add_with, 0, PAGE + 8, REG | R, 0 },
	{ "offset not of pages", "Linux sgx_validate_offset_length()", EINVAL_0, add_with, 8, PAGE, REG | R, 0 },
	{ "offset behind the end", "Linux sgx_validate_offset_length()", EINVAL_0, add_with, ENCLAVE_SIZE, PAGE, REG | R, 0 },
	{ "offset and length that overflow", "Linux sgx_validate_offset_length()", EINVAL_0, add_with, -(uint64_t)PAGE, 2 * PAGE, REG | R, 0 },
	{ "length beyond the end", "Linux sgx_validate_offset_length()", EINVAL_0, add_partly, BEYOND_END, 0, 0, 0 },
	{ "source not of pages", ADD_SAYS, EINVAL_0, add_source, 0x1008, 0, 0, 0 },
	{ "source nowhere", "Linux __sgx_encl_add_page(): get_user_pages()", "EFAULT, count 0x0", add_source, 0x1000, 0, 0, 0 },
	{ "source in the kernel's half", "Linux __sgx_encl_add_page(): find_vma()", "EFAULT, count 0x0", add_source, 0xffff888000000000, 0, 0, 0 },
	{ "a source that may only be executed", "Linux __sgx_encl_add_page(): get_user_pages()", "EFAULT, count 0x0", add_protected, PROT_EXEC, 0, 0, 0 },
	{ "a source that is mapped to be written only", "Linux __sgx_encl_add_page(): get_user_pages() wants VM_READ", "EFAULT, count 0x0", add_protected, PROT_WRITE, 0, 0, 0 },
	{ "a source that is a page of another enclave", "Linux __sgx_encl_add_page(): get_user_pages() takes no VM_PFNMAP", "EFAULT, count 0x0", add_from_enclave, 0, 0, 0, 0 },
	{ "the third of four sources is an enclave's", "Linux __sgx_encl_add_page(): get_user_pages() takes no VM_PFNMAP", "EFAULT, count 0x2000", add_partly, THIRD_ENCLAVE_S, 0, 0, 0 },
	{ "argument nowhere", ADD_SAYS, "EFAULT", add_pointer, 9, 0, 0, 0 },
	{ "before CREATE, argument nowhere", ADD_SAYS ": SGX_ENCL_CREATED comes first", "EINVAL", add_wrong, OPENED, 5, 0, 9 },
	{ "after INIT, argument nowhere", ADD_SAYS ": SGX_ENCL_INITIALIZED comes first", "EINVAL", add_wrong, INITIALISED, 5, 0, 9 },
	{ "source not of pages, SECINFO nowhere", ADD_SAYS ": src comes first", "EINVAL", add_wrong, CREATED, 0, 0x1008, 3 },
	{ "length 0, SECINFO nowhere", ADD_SAYS ": the range comes first", "EINVAL", add_wrong, CREATED, 2, 0, 3 },
	{ "a flag besides SGX_PAGE_MEASURE", "Linux sgx_encl_add_page(): one bit is asked", "0", add_wrong, CREATED, 4, 2, 8 },
	{ "count that is not 0", ADD_SAYS ": it is not asked", "0", add_wrong, CREATED, 5, PAGE, 8 },
	{ "argument that cannot be written back", ADD_SAYS ": copy_to_user() comes last", "EFAULT, EBUSY", add_read_only, 0, 0, 0, 0 },
	{ "SECINFO nowhere", ADD_SAYS, "EFAULT", add_pointer, 3, 0, 0, 0 },
	{ "the third of four sources has no access", ADD_SAYS ": count", "EFAULT, count 0x2000", add_partly, THIRD_UNREADABLE, 0, 0, 0 },
	{ "the third of four sources is not mapped", ADD_SAYS ": count", "EFAULT, count 0x2000", add_partly, THIRD_UNMAPPED, 0, 0, 0 },
	{ "the third of four pages is there", "Linux sgx_encl_add_page(): xa_insert()", "EBUSY, count 0x2000", add_partly, THIRD_TAKEN, 0, 0, 0 },
	{ "the first of four pages is there", "Linux sgx_encl_add_page(): xa_insert()", "EBUSY, count 0x0", add_partly, FIRST_TAKEN, 0, 0, 0 },
	SECINFO_OF("PT_REG without permissions", REG, ADDED_1), SECINFO_OF("PT_REG R", REG | R, ADDED_1), SECINFO_OF("PT_REG RW", REG | R | W, ADDED_1),
	SECINFO_OF("PT_REG RX", REG | R | X, ADDED_1), SECINFO_OF("PT_REG RWX", REG | R | W | X, ADDED_1), SECINFO_OF("PT_REG X", REG | X, ADDED_1),
	SECINFO_OF("PT_REG W", REG | W, EINVAL_0), SECINFO_OF("PT_REG WX", REG | W | X, EINVAL_0), SECINFO_OF("PT_TCS", TCS, ADDED_1),
	SECINFO_OF("PT_TCS R", TCS | R, EINVAL_0), SECINFO_OF("PT_TCS RW", TCS | R | W, EINVAL_0), SECINFO_OF("PT_SECS", FLAGS_OF(PT_SECS), EINVAL_0),
	SECINFO_OF("PT_VA", FLAGS_OF(PT_VA), EINVAL_0), SECINFO_OF("PT_TRIM", TRIM, EINVAL_0), SECINFO_OF("type 5", FLAGS_OF(5), EINVAL_0),
	SECINFO_OF("PENDING", REG | R | PENDING, EINVAL_0), SECINFO_OF("MODIFIED", REG | R | MODIFIED, EINVAL_0), SECINFO_OF("PR", REG | R | PR, EINVAL_0),
	SECINFO_OF("bit 6", REG | R | 0x40, EINVAL_0), SECINFO_OF("bit 16", REG | R | 0x10000, EINVAL_0),
	{ "SECINFO, the byte behind FLAGS", SECINFO_SAYS ": reserved", "EINVAL", add_secinfo_byte, 8, 0, 0, 0 },
	{ "SECINFO, the last byte", SECINFO_SAYS ": reserved", "EINVAL", add_secinfo_byte, 63, 0, 0, 0 },
	{ "a TCS with DBGOPTIN", "SDM 3D 38.3 EADD: FLAGS of the TCS", "0", add_tcs, 1, 1, 0, 0 },
	{ "a TCS with a reserved flag", "SDM 3D 38.3 EADD: FLAGS of the TCS", "EIO", add_tcs, 1, 0x80, 0, 0 },
	{ "a TCS whose OSSA is not of pages", "SDM 3D 38.3 EADD: OSSA", "EIO", add_tcs, 2, 8, 0, 0 },
	{ "a TCS whose OFSBASE is not of pages", "SDM 3D 38.3 EADD: OFSBASE", "EIO", add_tcs, 6, 8, 0, 0 },
	{ "a TCS whose OGSBASE is not of pages", "SDM 3D 38.3 EADD: OGSBASE", "EIO", add_tcs, 7, 8, 0, 0 },
	{ "a TCS with a reserved word", "SDM 3D 38.3 EADD: reserved fields of the TCS", "EIO", add_tcs, 9, 1, 0, 0 },
	{ "a TCS with something at its end", "SDM 3D 38.3 EADD: reserved fields of the TCS", "EIO", add_tcs, 511, 1, 0, 0 },
};
GROUP(add_pages_group, "add-pages", "SGX_IOC_ENCLAVE_ADD_PAGES", adds);
