/* What CPUID says of SGX. */
#include "conform.h"

#define SGX_SAYS "SDM 2A CPUID leaf 12H"

static uint64_t value(const struct claim *claim)
{
	uint32_t out[4];

	cpuid((uint32_t)claim->a, (uint32_t)claim->b, out);
	return out[claim->c];
}

static void masked(const struct claim *claim)
{
	say("%x", value(claim) & claim->d);
}

static void highest_leaf(const struct claim *claim)
{
	uint32_t out[4];

	cpuid(0, 0, out);
	say("%s", out[0] >= claim->a ? "there" : "not there");
}

static void at_least(const struct claim *claim)
{
	uint64_t size = value(claim) >> claim->d & 0xff;

	say("%s", size >= 12 && size < 64 ? "plausible" : "not plausible");
}

static void xfrm_within_xcr0(const struct claim *claim)
{
	uint32_t xcr0[4];
	uint64_t xfrm = value(claim);

	cpuid(0xd, 0, xcr0);
	say("%s", xfrm & ~xcr0[0] ? "more than CPUID.0DH" : "within CPUID.0DH");
}

static void epc_section(const struct claim *claim)
{
	uint32_t out[4];
	uint64_t base, size;

	cpuid(0x12, 2, out);
	base = (out[0] & 0xfffff000) | (uint64_t)(out[1] & 0xfffff) << 32;
	size = (out[2] & 0xfffff000) | (uint64_t)(out[3] & 0xfffff) << 32;
	switch (claim->a) {
	case 0:
		say("type %d", (uint64_t)(out[0] & 15));
		break;
	case 1:
		say("%s", base ? "has a base" : "no base");
		break;
	case 2:
		say("%s", size ? "has a size" : "no size");
		break;
	case 3:
		say("reserved bits %x, %x", (uint64_t)(out[0] & 0xff0), (uint64_t)(out[1] & 0xfff00000));
		break;
	}
}

static void sections_end(const struct claim *claim)
{
	uint32_t out[4];

	(void)claim;
	for (uint32_t i = 2; i < 66; i++) {
		cpuid(0x12, i, out);
		if (!(out[0] & 15)) {
			say("type 0, %x, %x, %x", (uint64_t)out[1], (uint64_t)out[2], (uint64_t)out[3]);
			return;
		}
	}
	say("no end");
}

static const struct claim claims[] = {
	{ "leaf 12H is a leaf", "SDM 2A CPUID leaf 0", "there", highest_leaf, 0x12, 0, 0, 0 },
	{ "7.0:EBX[2] SGX", "SDM 2A CPUID leaf 7", "0x4", masked, 7, 0, 1, 4 },
	{ "7.0:ECX[30] SGX_LC, without which Linux has no SGX", "SDM 2A CPUID leaf 7; Linux sgx_init()", "0x40000000", masked, 7, 0, 2, 0x40000000 },
	{ "12H.0:EAX[0] SGX1", SGX_SAYS, "0x1", masked, 0x12, 0, 0, 1 },
	{ "12H.0:EBX[31:1] no MISCSELECT but EXINFO and CPINFO", SGX_SAYS, "0x0", masked, 0x12, 0, 1, 0xfffffffc },
	{ "12H.0:ECX is reserved", SGX_SAYS, "0x0", masked, 0x12, 0, 2, 0xffffffff },
	{ "12H.0:EDX[7:0] MaxEnclaveSize_Not64", SGX_SAYS, "plausible", at_least, 0x12, 0, 3, 0 },
	{ "12H.0:EDX[15:8] MaxEnclaveSize_64", SGX_SAYS, "plausible", at_least, 0x12, 0, 3, 8 },
	{ "12H.0:EDX[31:16] is reserved", SGX_SAYS, "0x0", masked, 0x12, 0, 3, 0xffff0000 },
	{ "12H.1:EAX[1] DEBUG", SGX_SAYS, "0x2", masked, 0x12, 1, 0, DEBUG },
	{ "12H.1:EAX[2] MODE64BIT", SGX_SAYS, "0x4", masked, 0x12, 1, 0, MODE64BIT },
	{ "12H.1:EAX[4] PROVISIONKEY", SGX_SAYS, "0x10", masked, 0x12, 1, 0, PROVISIONKEY },
	{ "12H.1:EAX[5] EINITTOKENKEY", SGX_SAYS, "0x20", masked, 0x12, 1, 0, EINITTOKEN_KEY },
	{ "12H.1:EAX[3] is reserved", SGX_SAYS, "0x0", masked, 0x12, 1, 0, 8 },
	{ "12H.1:EBX no attribute above 31", SGX_SAYS, "0x0", masked, 0x12, 1, 1, 0xffffffff },
	{ "12H.1:ECX[1:0] XFRM has x87 and SSE", SGX_SAYS, "0x3", masked, 0x12, 1, 2, 3 },
	{ "12H.1:ECX XFRM has nothing that XCR0 has not", SGX_SAYS "; SDM 3D 39.7.2.1", "within CPUID.0DH", xfrm_within_xcr0, 0x12, 1, 2, 0 },
	{ "12H.1:EDX XFRM has nothing above 31", SGX_SAYS, "0x0", masked, 0x12, 1, 3, 0xffffffff },
	{ "12H.2:EAX[3:0] an EPC section", SGX_SAYS, "type 1", epc_section, 0, 0, 0, 0 },
	{ "12H.2 its base", SGX_SAYS, "has a base", epc_section, 1, 0, 0, 0 },
	{ "12H.2 its size", SGX_SAYS, "has a size", epc_section, 2, 0, 0, 0 },
	{ "12H.2 reserved bits", SGX_SAYS, "reserved bits 0x0, 0x0", epc_section, 3, 0, 0, 0 },
	{ "12H.2 and so on: the last sub-leaf is of type 0, and 0", SGX_SAYS, "type 0, 0x0, 0x0, 0x0", sections_end, 0, 0, 0, 0 },
};
GROUP(cpuid_group, "cpuid", "what CPUID says of SGX", claims);
