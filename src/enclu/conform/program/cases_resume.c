/* ERESUME and EDECCSSA. */
#include "conform.h"

#define ERESUME_SAYS "SDM 3D 38.4 ERESUME"
#define EDECCSSA_SAYS "SDM 3D 38.4 EDECCSSA"

/* ERESUME. */

static struct outcome resume(uint64_t tcs, uint64_t aep)
{
	struct registers in = { .rax = ERESUME, .rbx = tcs, .rcx = aep, .rflags = 2 };

	return enclu(&in);
}

/* Stopped at an UD2 of `code`; the frame, to be changed. */
static struct gprsgx stopped(struct request *request, uint64_t code)
{
	struct gprsgx gprsgx;
	struct outcome outcome;

	load((struct options){ 0 });
	outcome = run_code(code, request);
	if (outcome.how != AEX)
		broken("no AEX");
	frame_of(0, &gprsgx, NULL);
	gprsgx.rip += 2;
	return gprsgx;
}

static void put_frame(const struct gprsgx *gprsgx)
{
	copy_in(ssa_of(1) - sizeof(*gprsgx), gprsgx, sizeof(*gprsgx));
}

static struct outcome resumed(struct request *request)
{
	struct gprsgx gprsgx = stopped(request, AT_ud2);
	struct outcome outcome;

	put_frame(&gprsgx);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	must_exit(&outcome, "ERESUME");
	return outcome;
}

static void restored_register(const struct claim *claim)
{
	struct request request = example();

	resumed(&request);
	say("%s", GPR(&request.out, claim->a) == GPR(&request.in, claim->a) ? "as before" : "changed");
}

static void restored_flags(const struct claim *claim)
{
	struct request request = example();

	request.in.rflags |= claim->a;
	resumed(&request);
	say("%x", request.out.rflags & (ARITHMETIC | DF | RFLAGS_ID | TF));
}

/* a: which 8 bytes of GPRSGX the enclave changes; b: to what (with c: an offset in ELRANGE). */
static void changed_frame(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx = stopped(&request, AT_ud2);
	struct outcome outcome;

	((uint64_t *)&gprsgx)[claim->a] = claim->c ? place(claim->b) : claim->b;
	put_frame(&gprsgx);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void changed_register(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx = stopped(&request, AT_ud2);
	struct outcome outcome;

	((uint64_t *)&gprsgx)[claim->a] = claim->b;
	put_frame(&gprsgx);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	must_exit(&outcome, "ERESUME");
	say("%x", GPR(&request.out, claim->a));
}

/* a: offset in the XSAVE region; b: the byte that the enclave puts there. */
static void changed_state(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx = stopped(&request, AT_ud2);
	uint8_t byte = (uint8_t)claim->b;
	struct outcome outcome;

	put_frame(&gprsgx);
	copy_in(ssa_of(0) + claim->a, &byte, 1);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void segment_restored(const struct claim *claim)
{
	struct request request = { 0 };
	struct gprsgx gprsgx = stopped(&request, AT_ud2);
	struct outcome outcome;

	gprsgx.rip = place(claim->a);
	gprsgx.fsbase = place(GS);
	gprsgx.gsbase = place(FS);
	put_frame(&gprsgx);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	must_exit(&outcome, "ERESUME");
	say("%x", request.out.rax);
}

static void resume_wrong(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	stopped(&request, AT_ud2);
	outcome = resume(place(claim->a), claim->b ? claim->b : (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void resume_nothing(const struct claim *claim)
{
	struct outcome outcome;

	(void)claim;
	load((struct options){ 0 });
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

/* a: the page that gets the protection b (8: is unmapped) while the enclave is interrupted. */
static void resume_protected(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;
	long result;

	stopped(&request, AT_ud2);
	result = claim->b == 8 ? call3(SYS_MUNMAP, (long)place(claim->a), PAGE, 0)
			       : call3(SYS_MPROTECT, (long)place(claim->a), PAGE, (long)claim->b);
	if (result)
		broken("mprotect: %e", result);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

/* a: the page that the kernel and the enclave change meanwhile; b: how. */
static void resume_changed(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	need_sgx2();
	stopped(&request, AT_ud2);
	put_in_state(claim->a, (enum preparation)claim->b);
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void resume_absolute(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	stopped(&request, AT_ud2);
	((volatile uint8_t *)memory)[PAGE] = 0;
	outcome = resume(claim->b ? (uint64_t)memory + claim->a : claim->a, (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void resume_before_init(const struct claim *claim)
{
	struct outcome outcome;

	(void)claim;
	load((struct options){ .state = ADDED });
	if (call6(SYS_MMAP, (long)place(TCS0), PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, enclave.fd, 0) < 0)
		broken("mmap");
	outcome = resume(place(TCS0), (uint64_t)raw_aep);
	say_outcome(&outcome);
}

static void cssa_after(const struct claim *claim)
{
	struct request request = example();

	(void)claim;
	resumed(&request);
	run_code(AT_nothing, &request);
	say("CSSA %d", request.entered.rax);
}

static void other_aep(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	(void)claim;
	stopped(&request, AT_ud2);
	outcome = resume(place(TCS0), (uint64_t)raw_aep); /* to the UD2 again */
	say_outcome(&outcome);
	say(", RCX %s", outcome.registers.rcx == (uint64_t)raw_aep ? "the AEP" : "something else");
}

void resume_busy(const struct claim *claim);

#define RESTORED(n, name) { name " is restored", ERESUME_SAYS, "as before", restored_register, n, 0, 0, 0 }
#define RESTORED_FLAG(name, bit, text) { name " is restored", ERESUME_SAYS ": RFLAGS", text, restored_flags, bit, 0, 0, 0 }
static const struct claim eresume[] = {
	{ "CSSA 0", ERESUME_SAYS ": TCS.CSSA is 0", "ERESUME: #GP", resume_nothing, 0, 0, 0, 0 },
	{ "RBX not page aligned", ERESUME_SAYS ": DS:RBX is not 4KByte aligned", "ERESUME: #GP", resume_wrong, TCS0 + 16, 0, 0, 0 },
	{ "RBX a data page", ERESUME_SAYS ": EPCM.PT is not PT_TCS", "ERESUME: #PF 0x8005 at data", resume_wrong, DATA, 0, 0, 0 },
	{ "AEP not canonical", ERESUME_SAYS ": AEP is not canonical", "ERESUME: #GP", resume_wrong, TCS0, FAR_ADDRESS, 0, 0 },
	{ "a TCS that was not interrupted", ERESUME_SAYS ": TCS.CSSA is 0", "ERESUME: #GP", resume_wrong, TCS1, 0, 0, 0 },
	{ "RBX not canonical", "SDM 1 3.3.7.1; " ERESUME_SAYS, "ERESUME: #GP", resume_absolute, FAR_ADDRESS, 0, 0, 0 },
	{ "RBX 0: nothing mapped", ERESUME_SAYS ": does not resolve within an EPC", "ERESUME: #PF 0x4 at 0x0", resume_absolute, 0, 0, 0, 0 },
	{ "RBX in ordinary memory", ERESUME_SAYS ": does not resolve within an EPC", "ERESUME: #PF 0x8005 at memory+0x1000", resume_absolute, PAGE, 1, 0, 0 },
	{ "RBX a text page", ERESUME_SAYS ": EPCM.PT is not PT_TCS", "ERESUME: #PF 0x8005 at text", resume_wrong, TEXT, 0, 0, 0 },
	{ "RBX the SSA frame itself", ERESUME_SAYS ": EPCM.PT is not PT_TCS", "ERESUME: #PF 0x8005 at ssa", resume_wrong, SSA, 0, 0, 0 },
	{ "AEP just not canonical", ERESUME_SAYS ": AEP is not canonical", "ERESUME: #GP", resume_wrong, TCS0, 0x800000000000, 0, 0 },
	{ "enclave not initialised", ERESUME_SAYS ": ATTRIBUTES.INIT is 0", "ERESUME: #GP", resume_before_init, 0, 0, 0, 0 },
	{ "TCS busy, CSSA 1", ERESUME_SAYS ": TCS is busy", "ERESUME: #GP", resume_busy, ERESUME, 1, 0, 0 },
	{ "TCS trimmed by EMODT", ERESUME_SAYS ": EPCM.MODIFIED", "ERESUME: #PF 0x8005 at tcs0", resume_changed, TCS0, TRIMMED, 0, 0 },
	{ "SSA restricted to read by EMODPR", ERESUME_SAYS ": EPCM.W of the SSA", "ERESUME: #PF 0x8007 at ssa", resume_changed, SSA, RESTRICTED_R, 0, 0 },
	{ "SSA restricted to nothing by EMODPR", ERESUME_SAYS ": EPCM.R of the SSA", "ERESUME: #PF 0x8007 at ssa", resume_changed, SSA, RESTRICTED_NONE, 0, 0 },
	{ "GPRSGX restricted to read by EMODPR", ERESUME_SAYS ": EPCM.W of GPRSGX", "ERESUME: #PF 0x8007 at ssa+0x3f48", resume_changed, SSA + 3 * PAGE, RESTRICTED_R, 0, 0 },
	{ "SSA trimmed by EMODT", ERESUME_SAYS ": EPCM.MODIFIED of the SSA", "ERESUME: #PF 0x8007 at ssa", resume_changed, SSA, TRIMMED, 0, 0 },
	{ "SSA trimmed and accepted", ERESUME_SAYS ": EPCM.PT of the SSA is not PT_REG", "ERESUME: #PF 0x8007 at ssa", resume_changed, SSA, ACCEPTED_TRIM, 0, 0 },
	{ "SSA made a TCS by EMODT", ERESUME_SAYS ": EPCM.PT of the SSA is not PT_REG", "ERESUME: #PF 0x8007 at ssa", resume_changed, SSA, MADE_TCS, 0, 0 },
	{ "SSA removed, and added by EAUG", ERESUME_SAYS ": EPCM.PENDING of the SSA", "ERESUME: #PF 0x8007 at ssa", resume_changed, SSA, ADDED_ANEW, 0, 0 },
	{ "GPRSGX removed, and added by EAUG", ERESUME_SAYS ": EPCM.PENDING of GPRSGX", "ERESUME: #PF 0x8007 at ssa+0x3f48", resume_changed, SSA + 3 * PAGE, ADDED_ANEW, 0, 0 },
	{ "a page of the frame that XSAVE does not reach may be trimmed", ERESUME_SAYS ": SSA frame", "AEX: #UD", resume_changed, SSA + PAGE, TRIMMED, 0, 0 },
	{ "the next frame may be trimmed", ERESUME_SAYS ": SSA frame", "AEX: #UD", resume_changed, SSA + 4 * PAGE, TRIMMED, 0, 0 },
	{ "TCS busy, CSSA 0", ERESUME_SAYS, "ERESUME: #GP", resume_busy, ERESUME, 0, 0, 0 },
	{ "TCS unmapped", "SDM 3A 4.7", "ERESUME: #PF 0x4 at tcs0", resume_protected, TCS0, 8, 0, 0 },
	{ "SSA page unmapped", ERESUME_SAYS ": SSA frame", "ERESUME: #PF 0x6 at ssa", resume_protected, SSA, 8, 0, 0 },
	{ "SSA page mapped to be read", ERESUME_SAYS ": SSA frame", "ERESUME: #PF 0x7 at ssa", resume_protected, SSA, PROT_READ, 0, 0 },
	{ "GPRSGX's page mapped to be read", ERESUME_SAYS ": GPRSGX", "ERESUME: #PF 0x7 at ssa+0x3f48", resume_protected, SSA + 3 * PAGE, PROT_READ, 0, 0 },
	{ "SSA.RIP not canonical", ERESUME_SAYS ": target is not canonical", "ERESUME: #GP", changed_frame, 17, FAR_ADDRESS, 0, 0 },
	{ "SSA.FSBASE not canonical", ERESUME_SAYS ": FS base is not canonical", "ERESUME: #GP", changed_frame, 21, FAR_ADDRESS, 0, 0 },
	{ "SSA.GSBASE not canonical", ERESUME_SAYS ": GS base is not canonical", "ERESUME: #GP", changed_frame, 22, FAR_ADDRESS, 0, 0 },
	{ "SSA.RIP outside ELRANGE", "SDM 3D 37.3: fetch outside ELRANGE is #GP", "AEX: #GP", changed_frame, 17, 0x10, 0, 0 },
	{ "SSA.RIP in a page without X", "SDM 3D 37.3", "AEX: #PF 0x15 at data", changed_frame, 17, DATA, 1, 0 },
	{ "XSTATE_BV beyond XFRM", ERESUME_SAYS ": XRSTOR", "ERESUME: #GP", changed_state, 512, 7, 0, 0 },
	{ "XSTATE_BV, a reserved bit", ERESUME_SAYS ": XRSTOR", "ERESUME: #GP", changed_state, 519, 0x40, 0, 0 },
	{ "XCOMP_BV not 0", ERESUME_SAYS ": XRSTOR", "ERESUME: #GP", changed_state, 520, 1, 0, 0 },
	{ "XSAVE header, reserved bytes", ERESUME_SAYS ": XRSTOR", "ERESUME: #GP", changed_state, 528, 1, 0, 0 },
	{ "MXCSR, a reserved bit", ERESUME_SAYS ": XRSTOR", "ERESUME: #GP", changed_state, 26, 1, 0, 0 },
	RESTORED(0, "RAX"), RESTORED(1, "RCX"), RESTORED(2, "RDX"), RESTORED(3, "RBX"), RESTORED(5, "RBP"), RESTORED(6, "RSI"), RESTORED(7, "RDI"),
	RESTORED(8, "R8"), RESTORED(9, "R9"), RESTORED(10, "R10"), RESTORED(11, "R11"), RESTORED(12, "R12"), RESTORED(13, "R13"),
	RESTORED(14, "R14"), RESTORED(15, "R15"),
	RESTORED_FLAG("RFLAGS without any", 0, "0x0"), RESTORED_FLAG("CF", CF, "0x1"), RESTORED_FLAG("PF", PARITY, "0x4"), RESTORED_FLAG("AF", AF, "0x10"),
	RESTORED_FLAG("ZF", ZF, "0x40"), RESTORED_FLAG("SF", SF, "0x80"), RESTORED_FLAG("OF", OF, "0x800"), RESTORED_FLAG("DF", DF, "0x400"),
	RESTORED_FLAG("ID", RFLAGS_ID, "0x200000"),
	{ "RAX is what the enclave has put into the SSA", ERESUME_SAYS, "0xabcd", changed_register, 0, 0xabcd, 0, 0 },
	{ "R15 is what the enclave has put into the SSA", ERESUME_SAYS, "0xabcd", changed_register, 15, 0xabcd, 0, 0 },
	{ "TF in the SSA has no effect after an opt-out entry", "SDM 3D 40.2.3", "EEXIT", changed_frame, 16, 2 | TF, 0, 0 },
	{ "FS base is the SSA's", ERESUME_SAYS, "0x6565656565656565", segment_restored, AT_read_fs, 0, 0, 0 },
	{ "GS base is the SSA's", ERESUME_SAYS, "0xf5f5f5f5f5f5f5f5", segment_restored, AT_read_gs, 0, 0, 0 },
	{ "CSSA is one less", ERESUME_SAYS ": TCS.CSSA := TCS.CSSA - 1", "CSSA 0", cssa_after, 0, 0, 0, 0 },
	{ "the instruction is executed again", ERESUME_SAYS, "AEX: #UD, RCX the AEP", other_aep, 0, 0, 0, 0 },
};
GROUP(eresume_group, "eresume", "ERESUME: its checks, and what it restores", eresume);

/* EDECCSSA: a is how many frames are in use. */

static struct outcome edeccssa(uint64_t frames, struct request *request)
{
	struct request fault = { 0 };

	need_edeccssa();
	load((struct options){ 0 });
	for (uint64_t i = 0; i < frames; i++)
		run_code(AT_ud2, &fault);
	request->in.rax = EDECCSSA;
	return run_code(AT_enclu, request);
}

static void decremented(const struct claim *claim)
{
	struct request request = example(), next = { 0 };
	struct outcome outcome = edeccssa(claim->a, &request);

	say_outcome(&outcome);
	if (outcome.how == EXITED) {
		run_code(AT_nothing, &next);
		say(", CSSA %d", next.entered.rax);
	}
}

static void edeccssa_register(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome = edeccssa(1, &request);

	must_exit(&outcome, "EDECCSSA");
	say("%s", GPR(&request.out, claim->a) == GPR(&request.in, claim->a) ? "unchanged" : "changed");
}

static void edeccssa_flags(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	request.in.rflags |= claim->a;
	outcome = edeccssa(1, &request);
	must_exit(&outcome, "EDECCSSA");
	say("%x", request.out.rflags & (ARITHMETIC | DF | RFLAGS_ID));
}

/* a: a page that has the protection b, or is in the state c; d: how many frames more are in use than one. */
static void edeccssa_frame(const struct claim *claim)
{
	struct request request = example(), fault = { 0 };
	struct outcome outcome;

	need_edeccssa();
	if (claim->c)
		need_sgx2();
	load((struct options){ 0 });
	for (uint64_t i = 0; i <= claim->d; i++)
		run_code(AT_ud2, &fault);
	put_in_state(claim->a, (enum preparation)claim->c);
	if (!claim->c)
		call3(SYS_MPROTECT, (long)place(claim->a), PAGE, (long)claim->b);
	request.in.rax = EDECCSSA;
	outcome = run_code(AT_enclu, &request);
	say_outcome(&outcome);
}

static const struct claim edeccssa_claims[] = {
	{ "CSSA 0", EDECCSSA_SAYS ": TCS.CSSA is 0", "AEX: #GP", decremented, 0, 0, 0, 0 },
	{ "CSSA 1 becomes 0", EDECCSSA_SAYS ": TCS.CSSA := TCS.CSSA - 1", "EEXIT, CSSA 0", decremented, 1, 0, 0, 0 },
	{ "CSSA 2 becomes 1", EDECCSSA_SAYS ": TCS.CSSA := TCS.CSSA - 1", "EEXIT, CSSA 1", decremented, 2, 0, 0, 0 },
	{ "RAX is kept", EDECCSSA_SAYS, "unchanged", edeccssa_register, 0, 0, 0, 0 },
	{ "RBX is kept", EDECCSSA_SAYS, "unchanged", edeccssa_register, 3, 0, 0, 0 },
	{ "RCX is kept", EDECCSSA_SAYS, "unchanged", edeccssa_register, 1, 0, 0, 0 },
	{ "RDX is kept", EDECCSSA_SAYS, "unchanged", edeccssa_register, 2, 0, 0, 0 },
	{ "flags are kept, clear", EDECCSSA_SAYS ": flags affected: none", "0x0", edeccssa_flags, 0, 0, 0, 0 },
	{ "flags are kept, set", EDECCSSA_SAYS ": flags affected: none", "0x8d5", edeccssa_flags, ARITHMETIC, 0, 0, 0 },
	{ "the frame below mapped to be read", EDECCSSA_SAYS ": SSA frame", "AEX: #PF 0x7 at ssa", edeccssa_frame, SSA, PROT_READ, 0, 0 },
	{ "the frame below unmapped", EDECCSSA_SAYS ": SSA frame", "AEX: #PF 0x6 at ssa", edeccssa_frame, SSA, 0, TAKEN_AWAY, 0 },
	{ "the frame below mapped without access", EDECCSSA_SAYS ": SSA frame", "AEX: #PF 0x6 at ssa", edeccssa_frame, SSA, PROT_NONE, 0, 0 },
	{ "the frame below mapped to be written is enough", EDECCSSA_SAYS ": SSA frame; Linux protection_map[]", "EEXIT", edeccssa_frame, SSA, PROT_WRITE, 0, 0 },
	{ "GPRSGX of the frame below unmapped", EDECCSSA_SAYS ": GPRSGX", "AEX: #PF 0x6 at ssa+0x3000", edeccssa_frame, SSA + 3 * PAGE, 0, TAKEN_AWAY, 0 },
	{ "the frame below restricted to read by EMODPR", EDECCSSA_SAYS ": EPCM.W of the SSA", "AEX: #PF 0x8007 at ssa", edeccssa_frame, SSA, 0, RESTRICTED_R, 0 },
	{ "GPRSGX of the frame below restricted by EMODPR", EDECCSSA_SAYS ": EPCM.W of GPRSGX", "AEX: #PF 0x8007 at ssa+0x3000", edeccssa_frame, SSA + 3 * PAGE, 0, RESTRICTED_R, 0 },
	{ "the frame below trimmed by EMODT", EDECCSSA_SAYS ": EPCM.MODIFIED of the SSA", "AEX: #PF 0x8007 at ssa", edeccssa_frame, SSA, 0, TRIMMED, 0 },
	{ "the frame below removed, and added by EAUG", EDECCSSA_SAYS ": EPCM.PENDING of the SSA", "AEX: #PF 0x8007 at ssa", edeccssa_frame, SSA, 0, ADDED_ANEW, 0 },
	{ "the frame below the next is not looked at", EDECCSSA_SAYS ": SSA frame", "EEXIT", edeccssa_frame, SSA, 0, TAKEN_AWAY, 1 },
	{ "GPRSGX of the frame below mapped to be read", EDECCSSA_SAYS ": GPRSGX", "AEX: #PF 0x7 at ssa+0x3000", edeccssa_frame, SSA + 3 * PAGE, PROT_READ, 0, 0 },
};
GROUP(edeccssa_group, "edeccssa", "EDECCSSA: its checks, and that it changes nothing but CSSA", edeccssa_claims);
