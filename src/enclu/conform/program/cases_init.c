/* The ioctls that finish an enclave: what INIT and PROVISION refuse, and in which order. */
#include "conform.h"

#define INIT_SAYS "Linux sgx_encl_init()"
/* SGX_IOC_ENCLAVE_INIT.  a: the SIGSTRUCT; b: the byte that is changed (0: none), and c: how. */
static uint8_t sigstruct[PAGE] __attribute__((aligned(PAGE)));

static void init_changed(const struct claim *claim)
{
	load((struct options){ .state = ADDED, .attributes = claim->d });
	copy(sigstruct, image_sigstruct[claim->a], sizeof(image_sigstruct[0]));
	sigstruct[claim->b] ^= (uint8_t)claim->c;
	say("%e", init(sigstruct));
}

/* VENDOR is b; the SECS has an attribute that was not allowed, d; ATTRIBUTES enforces one that there is not, c. */
static void init_in_order(const struct claim *claim)
{
	load((struct options){ .state = ADDED, .attributes = claim->d });
	copy(sigstruct, image_sigstruct[SIGNED_GOOD], sizeof(image_sigstruct[0]));
	*(uint32_t *)(sigstruct + 16) = (uint32_t)claim->b;
	sigstruct[928 + 7] |= (uint8_t)claim->c;
	sigstruct[944 + 7] |= (uint8_t)claim->c;
	say("%e", init(sigstruct));
}

/* A SIGSTRUCT whose last byte cannot be read. */
static void init_at_end(const struct claim *claim)
{
	uint8_t *last = memory + PAGE - sizeof(image_sigstruct[0]) + claim->a;

	load((struct options){ .state = ADDED });
	copy(last, image_sigstruct[SIGNED_GOOD], sizeof(image_sigstruct[0]));
	if (call3(SYS_MPROTECT, (long)(memory + PAGE), PAGE, PROT_NONE))
		broken("mprotect");
	say("%e", init(last));
}

/* A refused INIT leaves an enclave that pages can be added to. */
static void init_then_add(const struct claim *claim)
{
	(void)claim;
	load((struct options){ .state = ADDED });
	say("%e, ", init(image_sigstruct[SIGNED_OTHER_HASH]));
	say("%e", add(HOLE, PAGE, REG | R, memory, NULL));
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

static void init_from_nowhere(const struct claim *claim)
{
	load((struct options){ .state = claim->a });
	say("%e", call3(SYS_IOCTL, enclave.fd, SGX_IOC_ENCLAVE_INIT, NOWHERE));
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
	{ "before CREATE, argument nowhere", "Linux sgx_ioc_enclave_init(): SGX_ENCL_CREATED comes first", "EINVAL", init_from_nowhere, OPENED, 0, 0, 0 },
	{ "a second time, argument nowhere", "Linux sgx_ioc_enclave_init(): SGX_ENCL_INITIALIZED comes first", "EINVAL", init_from_nowhere, INITIALISED, 0, 0, 0 },
	{ "SIGSTRUCT that ends where reading does", "Linux sgx_ioc_enclave_init(): copy_from_user()", "0", init_at_end, 0, 0, 0, 0 },
	{ "SIGSTRUCT whose last byte cannot be read", "Linux sgx_ioc_enclave_init(): copy_from_user()", "EFAULT", init_at_end, 1, 0, 0, 0 },
	{ "a refusal, and then another page", "Linux sgx_ioc_enclave_add_pages()", "EPERM, 0", init_then_add, 0, 0, 0, 0 },
	{ "VENDOR 8086H, which was not signed", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", "EPERM", init_in_order, 0, 0x8086, 0, 0 },
	{ "VENDOR 80860000H", "Linux sgx_ioc_enclave_init()", "EINVAL", init_in_order, 0, 0x80860000, 0, 0 },
	{ "VENDOR, and an attribute that was not allowed", "Linux sgx_ioc_enclave_init(): vendor comes first", "EINVAL", init_in_order, 0, 1, 0, EINITTOKEN_KEY },
	{ "an attribute that was not allowed, and one that there is not", INIT_SAYS ": attributes_mask comes first", "EACCES", init_in_order, 0, 0, 0x40, EINITTOKEN_KEY },
	CHANGED("ATTRIBUTES has a bit that there is not, which its mask has not either", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 928 + 7, 0x40, "EPERM"),
	CHANGED("XFRM has a bit that there is not, which its mask has not either", "SDM 3D 38.3 EINIT: SGX_INVALID_SIGNATURE", 936 + 7, 0x40, "EPERM"),
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
