/* The ioctls that build an enclave: what the driver refuses, and how much it has done by then. */
#include "conform.h"

#define CREATE_SAYS "Linux sgx_encl_create()"
#define ADD_SAYS "Linux sgx_ioc_enclave_add_pages()"
#define SECINFO_SAYS "Linux sgx_validate_secinfo()"
#define INIT_SAYS "Linux sgx_encl_init()"

#define NOWHERE 0x10 /* an address where nothing is */

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

#define AT(field) (__builtin_offsetof(struct secs, field) / 8)
static const struct claim creates[] = {
	{ "what is proper", CREATE_SAYS, "0", create_with, AT(size), ENCLAVE_SIZE, 0, 0 },
	{ "a second time", "Linux sgx_ioc_enclave_create()", "EINVAL", create_twice, 0, 0, 0, 0 },
	{ "after a refusal", "Linux sgx_ioc_enclave_create()", "0", create_twice, 1, 0, 0, 0 },
	{ "argument nowhere", "Linux sgx_ioc_enclave_create()", "EFAULT", create_pointer, 1, 0, 0, 0 },
	{ "SECS nowhere", "Linux sgx_ioc_enclave_create()", "EFAULT", create_pointer, 0, 0, 0, 0 },
	{ "SIZE 0", CREATE_SAYS ": is_power_of_2()", "EINVAL", create_with, AT(size), 0, 0, 0 },
	{ "SIZE 3 pages", CREATE_SAYS ": is_power_of_2()", "EINVAL", create_with, AT(size), 3 * PAGE, 0, 0 },
	{ "SIZE a page", "SDM 3D 38.3 ECREATE: SIZE >= 2 pages", "EIO", create_with, AT(size), PAGE, 0, 0 },
	{ "SIZE 2 pages", "SDM 3D 38.3 ECREATE: SIZE >= 2 pages", "0", create_with, AT(size), 2 * PAGE, 0, 0 },
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

enum missing { THIRD_UNREADABLE, THIRD_UNMAPPED, THIRD_TAKEN, FIRST_TAKEN, BEYOND_END };

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
	{ "argument nowhere", ADD_SAYS, "EFAULT", add_pointer, 9, 0, 0, 0 },
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

/* SGX_IOC_ENCLAVE_INIT.  a: the SIGSTRUCT; b: the byte that is changed (0: none), and c: how. */
static uint8_t sigstruct[PAGE] __attribute__((aligned(PAGE)));

static void init_changed(const struct claim *claim)
{
	load((struct options){ .state = ADDED, .attributes = claim->d });
	copy(sigstruct, image_sigstruct[claim->a], sizeof(image_sigstruct[0]));
	sigstruct[claim->b] ^= (uint8_t)claim->c;
	say("%e", init(sigstruct));
}

/* The last byte of a field and of its mask get a bit that no processor has.  That is seen before the signature. */
static void init_unknown(const struct claim *claim)
{
	load((struct options){ .state = ADDED });
	copy(sigstruct, image_sigstruct[SIGNED_GOOD], sizeof(image_sigstruct[0]));
	sigstruct[claim->a] |= 0x40;
	sigstruct[claim->b] |= 0x40;
	say("%e", init(sigstruct));
}

static void init_in_state(const struct claim *claim)
{
	load((struct options){ .state = claim->a });
	say("%e", init(image_sigstruct[SIGNED_GOOD]));
}

static void init_pointer(const struct claim *claim)
{
	load((struct options){ .state = ADDED });
	say("%e", claim->a ? call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_INIT, NOWHERE) : init((const void *)NOWHERE));
}

static void init_again(const struct claim *claim)
{
	(void)claim;
	load((struct options){ .state = ADDED });
	say("%e, ", init(image_sigstruct[SIGNED_OTHER_HASH]));
	say("%e", init(image_sigstruct[SIGNED_GOOD]));
}

static void init_of_more(const struct claim *claim)
{
	load((struct options){ .state = ADDED });
	say("%e, ", add(HOLE, PAGE, REG | R | (claim->a ? MEASURED : 0), memory, NULL));
	say("%e", init(image_sigstruct[SIGNED_GOOD]));
}

/* a: the signature; the enclave has EXINFO, or AVX, as d wants. */
static void init_features(const struct claim *claim)
{
	uint32_t leaf[4];

	cpuid(0x12, 1, leaf);
	if (claim->c && !(leaf[2] & 4))
		unsupported("CPUID.12H.1 has no AVX");
	if (claim->b)
		need_exinfo();
	load((struct options){ .state = ADDED, .miscselect = (uint32_t)claim->b, .xfrm = claim->c });
	say("%e", init(image_sigstruct[claim->a]));
}

#define CHANGED(name, source, byte, bits, result) { name, source, result, init_changed, SIGNED_GOOD, byte, bits, 0 }
static const struct claim inits[] = {
	CHANGED("what is signed", INIT_SAYS, 0, 0, "0"),
	{ "before CREATE", "Linux sgx_ioc_enclave_init()", "EINVAL", init_in_state, OPENED, 0, 0, 0 },
	{ "without a page", "SDM 3D 38.3 EINIT: SGX_INVALID_MEASUREMENT", "EPERM", init_in_state, CREATED, 0, 0, 0 },
	{ "a second time", "Linux sgx_ioc_enclave_init()", "EINVAL", init_in_state, INITIALISED, 0, 0, 0 },
	{ "after a refusal", INIT_SAYS, "EPERM, 0", init_again, 0, 0, 0, 0 },
	{ "argument nowhere", "Linux sgx_ioc_enclave_init()", "EFAULT", init_pointer, 1, 0, 0, 0 },
	{ "SIGSTRUCT nowhere", "Linux sgx_ioc_enclave_init()", "EFAULT", init_pointer, 0, 0, 0, 0 },
	CHANGED("VENDOR neither 0 nor 8086H", "Linux sgx_ioc_enclave_init()", 16, 1, "EINVAL"),
	CHANGED("HEADER", "SDM 3D 38.3 EINIT: SGX_INVALID_SIG_STRUCT", 0, 1, "EPERM"),
	CHANGED("HEADER2", "SDM 3D 38.3 EINIT: SGX_INVALID_SIG_STRUCT", 24, 1, "EPERM"),
	CHANGED("a reserved byte that is signed", "SDM 3D 38.3 EINIT: SGX_INVALID_SIG_STRUCT", 44, 1, "EPERM"),
	CHANGED("a reserved byte that is not signed", "SDM 3D 38.3 EINIT: SGX_INVALID_SIG_STRUCT", 1028 + 2, 1, "EPERM"),
	CHANGED("EXPONENT", "SDM 3D 38.3 EINIT: SGX_INVALID_SIG_STRUCT", 512, 2, "EPERM"),
	CHANGED("DATE", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 20, 1, "EPERM"),
	CHANGED("SWDEFINED", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 40, 1, "EPERM"),
	CHANGED("MODULUS", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 128 + 7, 1, "EPERM"),
	CHANGED("SIGNATURE", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 516, 1, "EPERM"),
	CHANGED("Q1", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 1040, 1, "EPERM"),
	CHANGED("Q2", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 1424, 1, "EPERM"),
	CHANGED("ENCLAVEHASH", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 960, 1, "EPERM"),
	CHANGED("ISVSVN", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 1026, 1, "EPERM"),
	{ "ATTRIBUTES under its mask has a bit that there is not", INIT_SAYS ": sgx_attributes_reserved_mask", "EINVAL", init_unknown, 928 + 7, 944 + 7, 0, 0 },
	{ "XFRM under its mask has a bit that there is not", INIT_SAYS ": sgx_xfrm_reserved_mask", "EINVAL", init_unknown, 936 + 7, 952 + 7, 0, 0 },
	{ "MISCSELECT under its mask has a bit that there is not", INIT_SAYS ": sgx_misc_reserved_mask", "EINVAL", init_unknown, 900 + 3, 904 + 3, 0, 0 },
	{ "another ENCLAVEHASH, signed", "SDM 3D 38.3 EINIT: SGX_INVALID_MEASUREMENT", "EPERM", init_changed, SIGNED_OTHER_HASH, 0, 0, 0 },
	{ "signed for debug only, without DEBUG", "SDM 3D 38.3 EINIT: SGX_INVALID_ATTRIBUTE", "EPERM", init_changed, SIGNED_DEBUG, 0, 0, 0 },
	{ "signed for debug only, with DEBUG", "SDM 3D 38.3 EINIT", "0", init_changed, SIGNED_DEBUG, 0, 0, DEBUG },
	{ "signed without debug, with DEBUG", "SDM 3D 38.3 EINIT: SGX_INVALID_ATTRIBUTE", "EPERM", init_changed, SIGNED_NO_DEBUG, 0, 0, DEBUG },
	{ "signed without debug, without DEBUG", "SDM 3D 38.3 EINIT", "0", init_changed, SIGNED_NO_DEBUG, 0, 0, 0 },
	{ "signed for any, with DEBUG", "SDM 3D 38.3 EINIT", "0", init_changed, SIGNED_GOOD, 0, 0, DEBUG },
	{ "ISVFAMILYID without KSS, signed", "SDM 3D 38.3 EINIT: KSS", "EPERM", init_changed, SIGNED_FAMILY, 0, 0, 0 },
	{ "ATTRIBUTES.EINITTOKENKEY", INIT_SAYS ": attributes_mask", "EACCES", init_changed, SIGNED_GOOD, 0, 0, EINITTOKEN_KEY },
	{ "signed for AVX, without it", "SDM 3D 38.3 EINIT: SGX_INVALID_ATTRIBUTE", "EPERM", init_features, SIGNED_AVX, 0, 0, 0 },
	{ "signed for AVX, with it", "SDM 3D 38.3 EINIT", "0", init_features, SIGNED_AVX, 0, 7, 0 },
	{ "signed for any, with AVX", "SDM 3D 38.3 EINIT", "0", init_features, SIGNED_GOOD, 0, 7, 0 },
	{ "signed for EXINFO, without it", "SDM 3D 38.3 EINIT: SGX_INVALID_ATTRIBUTE", "EPERM", init_features, SIGNED_EXINFO, 0, 0, 0 },
	{ "signed for EXINFO, with it", "SDM 3D 38.3 EINIT", "0", init_features, SIGNED_EXINFO, MISC_EXINFO, 0, 0 },
	{ "signed for any, with EXINFO", "SDM 3D 38.3 EINIT", "0", init_features, SIGNED_GOOD, MISC_EXINFO, 0, 0 },
	{ "a page more than was signed", "SDM 3D 38.3 EADD", "0, EPERM", init_of_more, 0, 0, 0, 0 },
	{ "a page more than was signed, measured", "SDM 3D 38.3 EEXTEND", "0, EPERM", init_of_more, 1, 0, 0, 0 },
};
GROUP(init_group, "init", "SGX_IOC_ENCLAVE_INIT", inits);

/* SGX_IOC_ENCLAVE_PROVISION, and numbers that there are not. */
static void provision(const struct claim *claim)
{
	struct sgx_enclave_provision argument = { claim->b };

	load((struct options){ .state = claim->a });
	if (claim->c)
		argument.fd = (uint64_t)(claim->c == 1 ? enclave.fd : call3(SYS_OPEN, (long)"/dev/null", O_RDONLY, 0));
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_PROVISION, claim->d ? (long)NOWHERE : (long)&argument));
}

static void provision_with(const struct claim *claim)
{
	long fd = call3(SYS_OPEN, (long)"/dev/sgx_provision", O_RDWR, 0);
	struct sgx_enclave_provision argument = { (uint64_t)fd | claim->b };

	if (fd < 0)
		unsupported("/dev/sgx_provision cannot be opened");
	load((struct options){ .state = claim->a });
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_PROVISION, (long)&argument));
}

/* a: the enclave was allowed to have it. */
static void init_provisioned(const struct claim *claim)
{
	if (claim->a) {
		load((struct options){ .attributes = PROVISIONKEY, .state = ADDED });
	} else {
		load((struct options){ .state = OPENED });
		if (create(enclave.base, ENCLAVE_SIZE, MODE64BIT | PROVISIONKEY, 3, 0, SSA_FRAME_PAGES))
			broken("SGX_IOC_ENCLAVE_CREATE");
	}
	say("%e", init(image_sigstruct[SIGNED_GOOD]));
}

static void other_number(const struct claim *claim)
{
	uint8_t argument[256] = { 0 };

	load((struct options){ .state = claim->b });
	say("%e", call3(SYS_IOCTL, enclave.fd, (long)claim->a, (long)argument));
}

static const struct claim provisions[] = {
	{ "the device, before CREATE", "Linux sgx_set_attribute()", "0", provision_with, OPENED, 0, 0, 0 },
	{ "the device, before INIT", "Linux sgx_set_attribute()", "0", provision_with, ADDED, 0, 0, 0 },
	{ "the device, after INIT", "Linux sgx_set_attribute()", "0", provision_with, INITIALISED, 0, 0, 0 },
	{ "upper bits of fd are not looked at", "Linux sgx_set_attribute(): unsigned int", "0", provision_with, OPENED, 1ull << 32, 0, 0 },
	{ "no descriptor", "Linux sgx_set_attribute(): fget()", "EINVAL", provision, OPENED, 77, 0, 0 },
	{ "descriptor -1", "Linux sgx_set_attribute(): fget()", "EINVAL", provision, OPENED, 0xffffffff, 0, 0 },
	{ "the enclave's own descriptor", "Linux sgx_set_attribute(): f_op", "EINVAL", provision, OPENED, 0, 1, 0 },
	{ "/dev/null", "Linux sgx_set_attribute(): f_op", "EINVAL", provision, OPENED, 0, 2, 0 },
	{ "argument nowhere", "Linux sgx_ioc_enclave_provision()", "EFAULT", provision, OPENED, 0, 0, 1 },
	{ "INIT with PROVISIONKEY that was not allowed", INIT_SAYS ": attributes_mask", "EACCES", init_provisioned, 0, 0, 0, 0 },
	{ "INIT with PROVISIONKEY that was allowed", INIT_SAYS ": attributes_mask", "0", init_provisioned, 1, 0, 0, 0 },
	{ "number 04H", "Linux sgx_ioctl()", "ENOTTY", other_number, 0x4008a404, OPENED, 0, 0 },
	{ "number 08H", "Linux sgx_ioctl()", "ENOTTY", other_number, 0x4008a408, OPENED, 0, 0 },
	{ "CREATE of another size", "Linux sgx_ioctl()", "ENOTTY", other_number, 0x4010a400, OPENED, 0, 0 },
	{ "CREATE of another direction", "Linux sgx_ioctl()", "ENOTTY", other_number, 0xc008a400, OPENED, 0, 0 },
	{ "ADD_PAGES as it was before Linux 5.11", "Linux sgx_ioctl()", "ENOTTY", other_number, 0xc028a401, CREATED, 0, 0 },
	{ "another magic", "Linux sgx_ioctl()", "ENOTTY", other_number, 0x4008a500, OPENED, 0, 0 },
};
GROUP(provision_group, "provision", "SGX_IOC_ENCLAVE_PROVISION, and numbers that the driver does not know", provisions);
