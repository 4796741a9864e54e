/* EREPORT and EGETKEY. */
#include "conform.h"

#define EREPORT_SAYS "SDM 3D 38.4 EREPORT"
#define EGETKEY_SAYS "SDM 3D 38.4 EGETKEY"

/* In the enclave: TARGETINFO or KEYREQUEST, REPORTDATA, and where REPORT or key go. */
enum { TARGET = OPERAND, REPORTED = OPERAND + 512, RESULT = OPERAND + PAGE, HASH = 960 };
/* Instead of an offset in ELRANGE. */
#define OUTSIDE (1ull << 32)
#define BEYOND (2ull << 32)

static uint64_t operand(uint64_t offset)
{
	if (offset & OUTSIDE)
		return (uint64_t)memory + (offset & 0xfff);
	if (offset & BEYOND)
		return enclave.base + ENCLAVE_SIZE + (offset & 0xfff);
	return place(offset);
}

static struct outcome leaf(enum leaf number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	return try_inside(number, operand(rbx), operand(rcx), operand(rdx));
}

/* a, b, c: RBX, RCX and RDX. */
static void report_to(const struct claim *claim)
{
	struct outcome outcome;

	load((struct options){ 0 });
	*(volatile uint8_t *)memory = 0;
	outcome = leaf(EREPORT, claim->a, claim->b, claim->c);
	say_outcome(&outcome);
}

/* a: the byte of TARGETINFO that is 1. */
static void report_target(const struct claim *claim)
{
	struct targetinfo target = { .reserved = 0 };
	struct outcome outcome;

	((uint8_t *)&target)[claim->a] = 1;
	load((struct options){ 0 });
	copy_in(place(TARGET), &target, sizeof(target));
	outcome = leaf(EREPORT, TARGET, REPORTED, RESULT);
	say_outcome(&outcome);
}

static struct report reported(const struct targetinfo *target, struct options options)
{
	struct report report;
	struct outcome outcome;
	uint8_t data[64];

	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i + 1);
	if (enclave.fd < 0)
		load(options);
	copy_in(place(TARGET), target, sizeof(*target));
	copy_in(place(REPORTED), data, sizeof(data));
	outcome = leaf(EREPORT, TARGET, REPORTED, RESULT);
	must_exit(&outcome, "EREPORT");
	copy_out(&report, place(RESULT), sizeof(report));
	return report;
}

/* a: offset; b: size, at most 8. */
static void report_field(const struct claim *claim)
{
	struct report report = reported(&(struct targetinfo){ .reserved = 0 }, (struct options){ .attributes = claim->c, .miscselect = (uint32_t)claim->d });
	uint64_t number = 0;

	copy(&number, (uint8_t *)&report + claim->a, claim->b);
	say("%x", number);
}

static void report_zero(const struct claim *claim)
{
	struct report report = reported(&(struct targetinfo){ .reserved = 0 }, (struct options){ 0 });

	for (uint64_t i = 0; i < claim->b; i++)
		if (((uint8_t *)&report)[claim->a + i]) {
			say("not 0");
			return;
		}
	say("0");
}

static void report_mrenclave(const struct claim *claim)
{
	struct report report = reported(&(struct targetinfo){ .reserved = 0 }, (struct options){ 0 });

	(void)claim;
	say("%s", same(report.mrenclave, (const uint8_t *)image_sigstruct[SIGNED_GOOD] + HASH, 32) ? "as signed" : "another");
}

static void report_mrsigner(const struct claim *claim)
{
	struct report report = reported(&(struct targetinfo){ .reserved = 0 }, (struct options){ 0 });

	(void)claim;
	say("%s", same(report.mrsigner, image_mrsigner, 32) ? "SHA-256 of the modulus" : "another");
}

static void report_data(const struct claim *claim)
{
	struct report report = reported(&(struct targetinfo){ .reserved = 0 }, (struct options){ 0 });
	int right = 1;

	(void)claim;
	for (unsigned int i = 0; i < 64; i++)
		right &= report.reportdata[i] == i + 1;
	say("%s", right ? "as given" : "another");
}

/* Two reports: a is the byte of TARGETINFO in which they differ, 512 for none. */
static void report_macs(const struct claim *claim)
{
	struct targetinfo target = { .reserved = 0 };
	struct report first = reported(&target, (struct options){ 0 }), second;

	if (claim->a < sizeof(target))
		((uint8_t *)&target)[claim->a] ^= 0x80;
	second = reported(&target, (struct options){ 0 });
	say("%s", same(first.mac, second.mac, 16) ? "the same MAC" : "another MAC");
}

static void report_flags(const struct claim *claim)
{
	struct request request = { .in = { .rax = EREPORT, .rflags = 2 | claim->a } };
	struct outcome outcome;

	load((struct options){ 0 });
	request.in.rbx = place(TARGET);
	request.in.rcx = place(REPORTED);
	request.in.rdx = place(RESULT);
	outcome = run_code(AT_enclu, &request);
	must_exit(&outcome, "EREPORT");
	say("%x", request.out.rflags & ARITHMETIC);
}

#define OFFSET(type, field) __builtin_offsetof(struct type, field)
static const struct claim ereport[] = {
	{ "writes a REPORT", EREPORT_SAYS, "EEXIT", report_to, TARGET, REPORTED, RESULT, 0 },
	{ "TARGETINFO not aligned to 512", EREPORT_SAYS ": DS:RBX is not 512Byte Aligned", "AEX: #GP", report_to, TARGET + 256, REPORTED, RESULT, 0 },
	{ "REPORTDATA not aligned to 128", EREPORT_SAYS ": DS:RCX is not 128Byte Aligned", "AEX: #GP", report_to, TARGET, REPORTED + 64, RESULT, 0 },
	{ "REPORT not aligned to 512", EREPORT_SAYS ": DS:RDX is not 512Byte Aligned", "AEX: #GP", report_to, TARGET, REPORTED, RESULT + 256, 0 },
	{ "TARGETINFO outside ELRANGE", EREPORT_SAYS ": not within CR_ELRANGE", "AEX: #GP", report_to, OUTSIDE, REPORTED, RESULT, 0 },
	{ "REPORTDATA outside ELRANGE", EREPORT_SAYS ": not within CR_ELRANGE", "AEX: #GP", report_to, TARGET, OUTSIDE, RESULT, 0 },
	{ "REPORT outside ELRANGE", EREPORT_SAYS ": not within CR_ELRANGE", "AEX: #GP", report_to, TARGET, REPORTED, OUTSIDE, 0 },
	{ "REPORT right behind ELRANGE", EREPORT_SAYS ": not within CR_ELRANGE", "AEX: #GP", report_to, TARGET, REPORTED, BEYOND, 0 },
	{ "TARGETINFO in a page without permissions", EREPORT_SAYS ": EPCM.R", "AEX: #PF 0x4 at page_none", report_to, PAGE_NONE, REPORTED, RESULT, 0 },
	{ "TARGETINFO in a TCS", EREPORT_SAYS ": EPCM.PT", "AEX: #PF 0x8005 at tcs1", report_to, TCS1, REPORTED, RESULT, 0 },
	{ "REPORTDATA in a TCS", EREPORT_SAYS ": EPCM.PT", "AEX: #PF 0x8005 at tcs1", report_to, TARGET, TCS1, RESULT, 0 },
	{ "REPORT in a page that is only read", EREPORT_SAYS ": EPCM.W", "AEX: #PF 0x7 at page_r", report_to, TARGET, REPORTED, PAGE_R, 0 },
	{ "REPORT in text", EREPORT_SAYS ": EPCM.W", "AEX: #PF 0x7 at text", report_to, TARGET, REPORTED, TEXT, 0 },
	{ "REPORT in a TCS", EREPORT_SAYS ": EPCM.PT", "AEX: #PF 0x8007 at tcs1", report_to, TARGET, REPORTED, TCS1, 0 },
	{ "TARGETINFO byte 49 is reserved", EREPORT_SAYS ": reserved fields", "AEX: #GP", report_target, 49, 0, 0, 0 },
	{ "TARGETINFO byte 56 is reserved", EREPORT_SAYS ": reserved fields", "AEX: #GP", report_target, 56, 0, 0, 0 },
	{ "TARGETINFO byte 128 is reserved", EREPORT_SAYS ": reserved fields", "AEX: #GP", report_target, 128, 0, 0, 0 },
	{ "TARGETINFO byte 511 is reserved", EREPORT_SAYS ": reserved fields", "AEX: #GP", report_target, 511, 0, 0, 0 },
	{ "ATTRIBUTES", EREPORT_SAYS ": ATTRIBUTES := SECS.ATTRIBUTES", "0x5", report_field, OFFSET(report, attributes), 8, 0, 0 },
	{ "ATTRIBUTES of a debug enclave", EREPORT_SAYS ": ATTRIBUTES := SECS.ATTRIBUTES", "0x7", report_field, OFFSET(report, attributes), 8, DEBUG, 0 },
	{ "XFRM", EREPORT_SAYS ": ATTRIBUTES := SECS.ATTRIBUTES", "0x3", report_field, OFFSET(report, xfrm), 8, 0, 0 },
	{ "MISCSELECT", EREPORT_SAYS, "0x0", report_field, OFFSET(report, miscselect), 4, 0, 0 },
	{ "ISVPRODID is SIGSTRUCT's", EREPORT_SAYS, "0x1234", report_field, OFFSET(report, isvprodid), 2, 0, 0 },
	{ "ISVSVN is SIGSTRUCT's", EREPORT_SAYS, "0x2", report_field, OFFSET(report, isvsvn), 2, 0, 0 },
	{ "CONFIGSVN", EREPORT_SAYS, "0x0", report_field, OFFSET(report, configsvn), 2, 0, 0 },
	{ "MRENCLAVE", EREPORT_SAYS, "as signed", report_mrenclave, 0, 0, 0, 0 },
	{ "MRSIGNER", EREPORT_SAYS "; SDM 3D 38.3 EINIT", "SHA-256 of the modulus", report_mrsigner, 0, 0, 0, 0 },
	{ "REPORTDATA", EREPORT_SAYS, "as given", report_data, 0, 0, 0, 0 },
	{ "reserved bytes behind MISCSELECT", "SDM 3D 35.16 REPORT", "0", report_zero, 20, 12, 0, 0 },
	{ "ISVEXTPRODID without KSS", "SDM 3D 35.16 REPORT", "0", report_zero, OFFSET(report, isvextprodid), 16, 0, 0 },
	{ "reserved bytes behind MRENCLAVE", "SDM 3D 35.16 REPORT", "0", report_zero, OFFSET(report, reserved2), 32, 0, 0 },
	{ "reserved bytes behind MRSIGNER", "SDM 3D 35.16 REPORT", "0", report_zero, OFFSET(report, reserved3), 32, 0, 0 },
	{ "CONFIGID without KSS", "SDM 3D 35.16 REPORT", "0", report_zero, OFFSET(report, configid), 64, 0, 0 },
	{ "reserved bytes behind CONFIGSVN", "SDM 3D 35.16 REPORT", "0", report_zero, OFFSET(report, reserved4), 42, 0, 0 },
	{ "ISVFAMILYID without KSS", "SDM 3D 35.16 REPORT", "0", report_zero, OFFSET(report, isvfamilyid), 16, 0, 0 },
	{ "the same twice", EREPORT_SAYS ": MAC by the report key", "the same MAC", report_macs, 512, 0, 0, 0 },
	{ "MAC depends on the target's MRENCLAVE", EREPORT_SAYS ": report key of the target", "another MAC", report_macs, 0, 0, 0, 0 },
	{ "MAC depends on the target's ATTRIBUTES", EREPORT_SAYS ": report key of the target", "another MAC", report_macs, 32, 0, 0, 0 },
	{ "MAC depends on the target's XFRM", EREPORT_SAYS ": report key of the target", "another MAC", report_macs, 40, 0, 0, 0 },
	{ "MAC depends on the target's MISCSELECT", EREPORT_SAYS ": report key of the target", "another MAC", report_macs, 52, 0, 0, 0 },
	{ "flags are kept, clear", EREPORT_SAYS ": flags affected: none", "0x0", report_flags, 0, 0, 0, 0 },
	{ "flags are kept, set", EREPORT_SAYS ": flags affected: none", "0x8d5", report_flags, ARITHMETIC, 0, 0, 0 },
};
GROUP(ereport_group, "ereport", "EREPORT: its checks, and what a REPORT has", ereport);

/* EGETKEY. */

static struct outcome get_key(const struct keyrequest *request)
{
	copy_in(place(TARGET), request, sizeof(*request));
	return leaf(EGETKEY, TARGET, RESULT, 0);
}

static void key_to(const struct claim *claim)
{
	struct keyrequest request = { .keyname = KEY_SEAL, .keypolicy = 1 };
	struct outcome outcome;

	load((struct options){ 0 });
	copy_in(place(TARGET), &request, sizeof(request));
	outcome = leaf(EGETKEY, claim->a, claim->b, 0);
	say_outcome(&outcome);
}

static void say_result(const struct outcome *outcome)
{
	if (outcome->how != EXITED)
		say_outcome(outcome);
	else
		say("RAX %x, flags %x", outcome->registers.rax, outcome->registers.rflags & ARITHMETIC);
}

/* a: KEYNAME; b: KEYPOLICY; c: what else; d: attributes of the enclave. */
enum also { NOTHING, HIGH_ISVSVN, SAME_ISVSVN, HIGH_CPUSVN, HIGH_CONFIGSVN, RESERVED_2, RESERVED_LAST };

static void key_named(const struct claim *claim)
{
	struct keyrequest request = { .keyname = (uint16_t)claim->a, .keypolicy = (uint16_t)claim->b };
	struct outcome outcome;

	load((struct options){ .attributes = claim->d });
	switch ((enum also)claim->c) {
	case HIGH_ISVSVN:
		request.isvsvn = SIGNED_ISVSVN + 1;
		break;
	case SAME_ISVSVN:
		request.isvsvn = SIGNED_ISVSVN;
		break;
	case HIGH_CPUSVN:
		fill(request.cpusvn, 0xff, sizeof(request.cpusvn));
		break;
	case HIGH_CONFIGSVN:
		request.configsvn = 1;
		break;
	case RESERVED_2:
		request.reserved2[0] = 1;
		break;
	case RESERVED_LAST:
		request.reserved2[sizeof(request.reserved2) - 1] = 1;
		break;
	case NOTHING:
		break;
	}
	outcome = get_key(&request);
	say_result(&outcome);
}

/* Two keys; a: the byte of KEYREQUEST in which the second differs, 512 for none, and b how. */
static void keys_compared(const struct claim *claim)
{
	struct keyrequest request = { .keyname = (uint16_t)claim->c, .keypolicy = 1 };
	uint8_t first[16], second[16];
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = get_key(&request);
	must_exit(&outcome, "EGETKEY");
	copy_out(first, place(RESULT), 16);
	if (claim->a < sizeof(request))
		((uint8_t *)&request)[claim->a] ^= (uint8_t)claim->b;
	outcome = get_key(&request);
	must_exit(&outcome, "EGETKEY");
	if (outcome.registers.rax)
		broken("EGETKEY: %x", outcome.registers.rax);
	copy_out(second, place(RESULT), 16);
	say("%s", same(first, second, 16) ? "the same key" : "another key");
}

static void no_key_written(const struct claim *claim)
{
	struct keyrequest request = { .keyname = 77 };
	uint8_t key[16], mark[16];
	struct outcome outcome;

	(void)claim;
	fill(mark, 0x5a, sizeof(mark));
	load((struct options){ 0 });
	copy_in(place(RESULT), mark, sizeof(mark));
	outcome = get_key(&request);
	must_exit(&outcome, "EGETKEY");
	copy_out(key, place(RESULT), sizeof(key));
	say("%s", same(key, mark, 16) ? "unchanged" : "written");
}

#define NAMED(name, keyname, policy, what, attributes, result) \
	{ name, EGETKEY_SAYS, result, key_named, keyname, policy, what, attributes }
#define OK "RAX 0x0, flags 0x0"
#define GP_ "AEX: #GP"
static const struct claim egetkey[] = {
	{ "writes a key", EGETKEY_SAYS, "EEXIT", key_to, TARGET, RESULT, 0, 0 },
	{ "KEYREQUEST not aligned to 512", EGETKEY_SAYS ": DS:RBX is not 512Byte Aligned", GP_, key_to, TARGET + 128, RESULT, 0, 0 },
	{ "the key's place not aligned to 16", EGETKEY_SAYS ": DS:RCX is not 16Byte Aligned", GP_, key_to, TARGET, RESULT + 8, 0, 0 },
	{ "KEYREQUEST outside ELRANGE", EGETKEY_SAYS ": not within CR_ELRANGE", GP_, key_to, OUTSIDE, RESULT, 0, 0 },
	{ "the key's place outside ELRANGE", EGETKEY_SAYS ": not within CR_ELRANGE", GP_, key_to, TARGET, OUTSIDE, 0, 0 },
	{ "the key's place right behind ELRANGE", EGETKEY_SAYS ": not within CR_ELRANGE", GP_, key_to, TARGET, BEYOND, 0, 0 },
	{ "KEYREQUEST in a TCS", EGETKEY_SAYS ": EPCM.PT", "AEX: #PF 0x8005 at tcs1", key_to, TCS1, RESULT, 0, 0 },
	{ "the key's place in a page that is only read", EGETKEY_SAYS ": EPCM.W", "AEX: #PF 0x7 at page_r", key_to, TARGET, PAGE_R, 0, 0 },
	{ "the key's place in a TCS", EGETKEY_SAYS ": EPCM.PT", "AEX: #PF 0x8007 at tcs1", key_to, TARGET, TCS1, 0, 0 },
	NAMED("seal key by MRENCLAVE", KEY_SEAL, 1, NOTHING, 0, OK), NAMED("seal key by MRSIGNER", KEY_SEAL, 2, NOTHING, 0, OK),
	NAMED("seal key by both", KEY_SEAL, 3, NOTHING, 0, OK), NAMED("seal key by none", KEY_SEAL, 0, NOTHING, 0, OK),
	NAMED("report key", KEY_REPORT, 0, NOTHING, 0, OK),
	NAMED("einittoken key without the attribute", KEY_EINITTOKEN, 0, NOTHING, 0, "RAX 0x2, flags 0x40"),
	NAMED("provision key without the attribute", KEY_PROVISION, 0, NOTHING, 0, "RAX 0x2, flags 0x40"),
	NAMED("provision seal key without the attribute", KEY_PROVISION_SEAL, 0, NOTHING, 0, "RAX 0x2, flags 0x40"),
	NAMED("provision key with the attribute", KEY_PROVISION, 0, NOTHING, PROVISIONKEY, OK),
	NAMED("provision seal key with the attribute", KEY_PROVISION_SEAL, 0, NOTHING, PROVISIONKEY, OK),
	NAMED("KEYNAME 5", 5, 0, NOTHING, 0, "RAX 0x100, flags 0x40"), NAMED("KEYNAME FFFFH", 0xffff, 0, NOTHING, 0, "RAX 0x100, flags 0x40"),
	NAMED("ISVSVN above the enclave's", KEY_SEAL, 1, HIGH_ISVSVN, 0, "RAX 0x40, flags 0x40"),
	NAMED("ISVSVN of the enclave", KEY_SEAL, 1, SAME_ISVSVN, 0, OK),
	NAMED("ISVSVN matters not for the report key", KEY_REPORT, 0, HIGH_ISVSVN, 0, OK),
	NAMED("ISVSVN above the enclave's, provision key", KEY_PROVISION, 0, HIGH_ISVSVN, PROVISIONKEY, "RAX 0x40, flags 0x40"),
	NAMED("CPUSVN above the processor's", KEY_SEAL, 1, HIGH_CPUSVN, 0, "RAX 0x20, flags 0x40"),
	NAMED("CPUSVN matters not for the report key", KEY_REPORT, 0, HIGH_CPUSVN, 0, OK),
	NAMED("CPUSVN above the processor's, provision key", KEY_PROVISION, 0, HIGH_CPUSVN, PROVISIONKEY, "RAX 0x20, flags 0x40"),
	NAMED("CPUSVN is looked at before ISVSVN's name: an unknown KEYNAME comes first", 5, 0, HIGH_CPUSVN, 0, "RAX 0x100, flags 0x40"),
	NAMED("KEYPOLICY, the first reserved bit", KEY_SEAL, 0x40, NOTHING, 0, GP_), NAMED("KEYPOLICY, the last reserved bit", KEY_SEAL, 0x8000, NOTHING, 0, GP_),
	NAMED("KEYPOLICY.NOISVPRODID without KSS", KEY_SEAL, 4, NOTHING, 0, GP_), NAMED("KEYPOLICY.CONFIGID without KSS", KEY_SEAL, 8, NOTHING, 0, GP_),
	NAMED("KEYPOLICY.ISVFAMILYID without KSS", KEY_SEAL, 0x10, NOTHING, 0, GP_), NAMED("KEYPOLICY.ISVEXTPRODID without KSS", KEY_SEAL, 0x20, NOTHING, 0, GP_),
	NAMED("CONFIGSVN without KSS", KEY_SEAL, 1, HIGH_CONFIGSVN, 0, GP_),
	NAMED("KEYREQUEST, the byte behind CONFIGSVN", KEY_SEAL, 1, RESERVED_2, 0, GP_), NAMED("KEYREQUEST, the last byte", KEY_SEAL, 1, RESERVED_LAST, 0, GP_),
	{ "no key is written where one is refused", EGETKEY_SAYS, "unchanged", no_key_written, 0, 0, 0, 0 },
	{ "the same request twice", EGETKEY_SAYS, "the same key", keys_compared, 512, 0, KEY_SEAL, 0 },
	{ "KEYID matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.KEYID", "another key", keys_compared, OFFSET(keyrequest, keyid), 1, KEY_SEAL, 0 },
	{ "KEYPOLICY matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.KEYPOLICY", "another key", keys_compared, OFFSET(keyrequest, keypolicy), 3, KEY_SEAL, 0 },
	{ "ISVSVN matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.ISVSVN", "another key", keys_compared, OFFSET(keyrequest, isvsvn), 1, KEY_SEAL, 0 },
	{ "XFRMMASK matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.ATTRIBUTES and its mask", "another key", keys_compared, OFFSET(keyrequest, xfrmmask), 1, KEY_SEAL, 0 },
	{ "ATTRIBUTEMASK matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.ATTRIBUTES and its mask", "another key", keys_compared, OFFSET(keyrequest, attributemask), 4, KEY_SEAL, 0 },
	{ "ATTRIBUTEMASK matters, a bit that the enclave has not", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.ATTRIBUTES and its mask", "another key", keys_compared, OFFSET(keyrequest, attributemask), 0x10, KEY_SEAL, 0 },
	{ "MISCMASK matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.MISCSELECT and its mask", "another key", keys_compared, OFFSET(keyrequest, miscmask), 1, KEY_SEAL, 0 },
	{ "ATTRIBUTEMASK matters not for the report key", EGETKEY_SAYS, "the same key", keys_compared, OFFSET(keyrequest, attributemask), 4, KEY_REPORT, 0 },
	{ "MISCMASK matters not for the report key", EGETKEY_SAYS, "the same key", keys_compared, OFFSET(keyrequest, miscmask), 1, KEY_REPORT, 0 },
	{ "KEYNAME matters", EGETKEY_SAYS ": TMP_KEYDEPENDENCIES.KEYNAME", "another key", keys_compared, OFFSET(keyrequest, keyname), KEY_SEAL ^ KEY_REPORT, KEY_SEAL, 0 },
	{ "KEYPOLICY matters not for the report key", EGETKEY_SAYS, "the same key", keys_compared, OFFSET(keyrequest, keypolicy), 3, KEY_REPORT, 0 },
	{ "ISVSVN matters not for the report key's value", EGETKEY_SAYS, "the same key", keys_compared, OFFSET(keyrequest, isvsvn), 1, KEY_REPORT, 0 },
	{ "KEYID matters for the report key", EGETKEY_SAYS, "another key", keys_compared, OFFSET(keyrequest, keyid), 1, KEY_REPORT, 0 },
};
GROUP(egetkey_group, "egetkey", "EGETKEY: its checks, error codes, and what keys depend on", egetkey);
