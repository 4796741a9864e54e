/* Extended state: each XFRM that SGX can be asked for. */
#include "conform.h"

enum { AVX = STATE_AVX, MPX = 0x18, AVX512 = STATE_AVX512, PKRU = 0x200, HEADER = 512, IMAGE = 2 * PAGE };

static const uint64_t masks[] = { 3, 3 | AVX, 3 | MPX, 7 | MPX, 7 | AVX512, 7 | MPX | AVX512, 3 | PKRU, 7 | PKRU, 7 | AVX512 | PKRU,
				  7 | MPX | AVX512 | PKRU };
static const uint64_t refused[] = { 0, 1, 2, 4, 5, 6, 3 | 8, 3 | 0x10, 3 | 0x20, 7 | 0x20, 7 | 0x40, 7 | 0x60, 7 | 0x80, 3 | AVX512,
				    3 | 0x100, 3 | 1ull << 20, 3 | 1ull << 62, 3 | 1ull << 63 };
static uint8_t image[IMAGE] __attribute__((aligned(64))), saved[IMAGE] __attribute__((aligned(64)));

void need_xfrm(uint64_t xfrm)
{
	uint32_t leaf[4];

	cpuid(0x12, 1, leaf);
	if (xfrm & ~((uint64_t)leaf[2] | (uint64_t)leaf[3] << 32))
		unsupported("CPUID.12H.1 does not have it");
}

void state_part(unsigned int component, uint64_t *offset, uint64_t *size)
{
	uint32_t leaf[4];

	*offset = component ? 160 : 32; /* XMM; x87 */
	*size = component ? 256 : 128;
	if (component > 1) {
		cpuid(0xd, component, leaf);
		*offset = leaf[1];
		*size = leaf[0];
	}
}

/* Values that every component can hold, and that none has initially: MPX's BNDCFGU is canonical, PKRU lets all pass. */
static void fill_image(uint64_t xfrm)
{
	uint64_t offset, size;

	fill(image, 0, IMAGE);
	copy(image, &(uint16_t){ 0x37f }, 2);
	copy(image + 24, &(uint32_t){ 0x1f80 }, 4);
	copy(image + HEADER, &xfrm, 8);
	for (unsigned int component = 0; component < 10; component++) {
		if (!(xfrm >> component & 1))
			continue;
		state_part(component, &offset, &size);
		if (component == 9)
			copy(image + offset, &(uint32_t){ 0x40000000 }, 4);
		else if (component == 4)
			copy(image + offset, &(uint64_t){ 0x1000 }, 8);
		else
			for (uint64_t i = 0; i < size; i++)
				image[offset + i] = (uint8_t)(component ? 7 * i + component + 1 : i % 16 < 10 ? i + 1 : 0);
	}
	image[4] = 0xff; /* FTW: all x87 registers hold something */
}

const uint8_t *state_image(uint64_t components)
{
	fill_image(components);
	return image;
}

static struct outcome step(uint64_t code, uint64_t mask, uint64_t rcx)
{
	struct request request = { .in = { .rax = (uint32_t)mask, .rdx = mask >> 32, .rbx = (uint64_t)(rcx ? saved : image) } };

	return run_code(code, &request);
}

static void entered(uint64_t xfrm)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ .xfrm = xfrm });
	outcome = run_code(AT_nothing, &request);
	say_outcome(&outcome);
}

static void xcr0(uint64_t xfrm)
{
	struct request request = { 0 };
	struct outcome outcome;

	load((struct options){ .xfrm = xfrm });
	outcome = run_code(AT_xgetbv, &request);
	must_exit(&outcome, "XGETBV");
	say("%x", request.out.rax | request.out.rdx << 32);
}

/* The enclave has the image loaded when UD2 interrupts it. */
static void interrupted_with_image(uint64_t xfrm)
{
	static struct request request; /* for the enclave, when it is resumed, writes what it leaves to it */
	struct outcome outcome;

	request.in = (struct registers){ .rax = (uint32_t)xfrm, .rdx = xfrm >> 32, .rbx = (uint64_t)image };
	load((struct options){ .xfrm = xfrm });
	fill_image(xfrm);
	outcome = run_code(AT_xstate_fault, &request);
	if (outcome.how != AEX || outcome.vector != UD)
		broken("no UD2");
}

/* Says whether all components are saved; format is for the first that is not. */
static void say_saved(uint64_t xfrm, const char *format)
{
	uint64_t offset, size;

	for (unsigned int component = 0; component < 10; component++) {
		state_part(component, &offset, &size);
		if (xfrm >> component & 1 && !same(image + offset, saved + offset, size)) {
			say(format, (uint64_t)component);
			return;
		}
	}
	say("all");
}

/* State is loaded, an exception leaves the enclave, which another frame makes go on; what is saved then is compared. */
static void survives(uint64_t xfrm)
{
	struct gprsgx gprsgx;
	struct registers in = { .rax = ERESUME, .rcx = (uint64_t)raw_aep, .rflags = 2 };
	struct outcome outcome;

	interrupted_with_image(xfrm);
	frame_of(0, &gprsgx, NULL);
	gprsgx.rip = place(AT_xsave);
	gprsgx.registers.rbx = (uint64_t)saved;
	copy_in(ssa_of(1) - sizeof(gprsgx), &gprsgx, sizeof(gprsgx));
	fill(saved, 0, IMAGE);
	in.rbx = place(TCS0);
	outcome = enclu(&in);
	must_exit(&outcome, "ERESUME");
	say_saved(xfrm, "component %d changed");
}

/* What of it is in use is in the SSA's XSTATE_BV. */
static void xstate_bv(uint64_t xfrm)
{
	uint64_t header[8];

	interrupted_with_image(xfrm);
	copy_out(header, ssa_of(0) + HEADER, sizeof(header));
	say("%x, XCOMP_BV %x", header[0], header[1]);
}

static void in_the_ssa(uint64_t xfrm)
{
	interrupted_with_image(xfrm);
	copy_out(saved, ssa_of(0), IMAGE);
	say_saved(xfrm, "not component %d");
}

/* XRSTOR of a component that XFRM has not. */
static void beyond(uint64_t xfrm)
{
	struct outcome outcome;
	uint64_t more = xfrm & AVX ? 1ull << 62 : AVX;

	load((struct options){ .xfrm = xfrm });
	fill_image(xfrm);
	copy(image + HEADER, &(uint64_t){ xfrm | more }, 8);
	outcome = step(AT_xrstor, ~0ull, 0);
	say_outcome(&outcome);
}

static const struct {
	const char *name, *source, *expected; /* "": XFRM itself */
	void (*act)(uint64_t xfrm);
} facets[] = {
	{ "is entered", "SDM 3D 38.4 EENTER: XFRM is a subset of XCR0", "EEXIT", entered },
	{ "XGETBV tells it", "SDM 3D 39.7.5: XCR0 := XFRM", "", xcr0 },
	{ "is in the SSA after an AEX", "SDM 3D 37.3: XSAVE with XFRM", "all", in_the_ssa },
	{ "XSTATE_BV in the SSA", "SDM 3D 37.3: XSAVE with XFRM", "bv", xstate_bv },
	{ "survives AEX and ERESUME", "SDM 3D 37.3, 38.4 ERESUME", "all", survives },
	{ "XRSTOR of more", "SDM 1 13.8; SDM 3D 39.7.5", "AEX: #GP", beyond },
};

static void act(const struct claim *claim)
{
	need_xfrm(claim->a);
	facets[claim->b].act(claim->a);
}

static void refuse(const struct claim *claim)
{
	load((struct options){ .state = OPENED });
	say("%e", create(enclave.base, ENCLAVE_SIZE, MODE64BIT, claim->a, 0, SSA_FRAME_PAGES));
}

static unsigned int counted(void)
{
	return COUNT(masks) * COUNT(facets) + COUNT(refused);
}

static void make(unsigned int number, struct claim *claim)
{
	static char name[128], expected[64];
	uint64_t xfrm, facet = number % COUNT(facets);

	if (number >= COUNT(masks) * COUNT(facets)) {
		xfrm = refused[number - COUNT(masks) * COUNT(facets)];
		format_into(name, sizeof(name), "XFRM %x is refused", xfrm);
		*claim = (struct claim){ name, "SDM 3D 38.3 ECREATE: XFRM is legal for XCR0; Linux sgx_encl_create()", "EIO", refuse, xfrm, 0, 0, 0 };
		return;
	}
	xfrm = masks[number / COUNT(facets)];
	format_into(name, sizeof(name), "XFRM %x %s", xfrm, facets[facet].name);
	format_into(expected, sizeof(expected), same_text(facets[facet].expected, "bv") ? "%x, XCOMP_BV 0x0" : "%x", xfrm);
	*claim = (struct claim){ name, facets[facet].source, facets[facet].expected, act, xfrm, facet, 0, 0 };
	if (!*claim->expected || same_text(claim->expected, "bv"))
		claim->expected = expected;
}

const struct group xfrm_group = { .name = "xfrm", .about = "extended state by XFRM: what is entered, saved, restored, refused",
	.make = make, .counted = counted };
