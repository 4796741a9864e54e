/* AEX-Notify: ERESUME that enters anew. */
#include "conform.h"

#define NOTIFY_SAYS "SDM 3D 38.4 ERESUME: TMP_NOTIFY"
#define AGREE_SAYS "SDM 3D 38.4: TCS.FLAGS.AEXNOTIFY and SECS.ATTRIBUTES.AEXNOTIFY"

static const struct options notified = { .attributes = AEXNOTIFY, .tcs_flags = TCS_AEXNOTIFY };

/* GPRSGX.AEXNOTIFY, a byte, of a frame that is not in use. */
static void put_byte(unsigned int cssa, uint8_t byte)
{
	copy_in(ssa_of(cssa + 1) - sizeof(struct gprsgx) + __builtin_offsetof(struct gprsgx, aexnotify), &byte, 1);
}

/* An UD2 in the enclave, whose frame has this byte. */
static void stopped(struct request *request, uint8_t byte)
{
	need_aexnotify();
	load(notified);
	put_byte(0, byte);
	if (run_code(AT_ud2, request).how != AEX)
		broken("no AEX");
}

static struct outcome resumed(struct request *request)
{
	request->code = place(AT_nothing);
	return enter(place(TCS0), request, ERESUME);
}

/* a: ATTRIBUTES; b: TCS.FLAGS. */
static void entered(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	need_aexnotify();
	load((struct options){ .attributes = claim->a, .tcs_flags = claim->b });
	outcome = run_code(AT_nothing, &request);
	say_outcome(&outcome);
}

/* a: the byte. */
static void eresume_with(const struct claim *claim)
{
	struct request request = example(), handler = example();
	struct outcome outcome;

	stopped(&request, (uint8_t)claim->a);
	outcome = resumed(&handler);
	say_outcome(&outcome);
	if (outcome.how == EXITED)
		say(", CSSA %d", handler.entered.rax);
}

static void registers_at_entry(const struct claim *claim)
{
	struct request request = example(), handler = example();
	uint64_t value;

	stopped(&request, 1);
	resumed(&handler);
	value = GPR(&handler.entered, claim->a);
	say("%s", value == (claim->b == 1 ? place(TCS0) : claim->b == 2 ? (uint64_t)raw_exited : (uint64_t)&handler) ? "yes" : "no");
}

/* a: how often ERESUME enters; b: whether the last one gives the frame up. */
static void cssa_after(const struct claim *claim)
{
	struct request request = example(), handler = { 0 }, next = { 0 };

	stopped(&request, 1);
	for (uint64_t i = 0; i < claim->a; i++)
		resumed(&handler);
	if (claim->b) {
		need_edeccssa();
		handler.in.rax = EDECCSSA;
		handler.in.rflags = 2;
		handler.code = place(AT_enclu);
		enter(place(TCS0), &handler, ERESUME);
	}
	run_code(AT_nothing, &next);
	say("CSSA %d", next.entered.rax);
}

static void kept(const struct claim *claim)
{
	struct request request = example(), handler = example();
	struct gprsgx before, after;

	(void)claim;
	stopped(&request, 1);
	frame_of(0, &before, NULL);
	resumed(&handler);
	frame_of(0, &after, NULL);
	say("%s", same(&before, &after, sizeof(before)) ? "as before" : "changed");
}

static void byte_after_aex(const struct claim *claim)
{
	struct request request = example();
	struct gprsgx gprsgx;

	stopped(&request, (uint8_t)claim->a);
	frame_of(0, &gprsgx, NULL);
	say("%x", gprsgx.aexnotify);
}

/* What was interrupted is resumed when its frame says no more. */
static void resumed_later(const struct claim *claim)
{
	struct request request = example(), handler = example();
	struct gprsgx gprsgx;
	struct outcome outcome;

	(void)claim;
	stopped(&request, 1);
	resumed(&handler);
	frame_of(0, &gprsgx, NULL);
	gprsgx.rip += 2;
	gprsgx.aexnotify = 0;
	copy_in(ssa_of(1) - sizeof(gprsgx), &gprsgx, sizeof(gprsgx));
	outcome = resumed(&handler);
	say_outcome(&outcome);
	say(", R15 %s", request.out.r15 == request.in.r15 ? "as before" : "changed");
}

static void no_frame(const struct claim *claim)
{
	struct request request = example();
	struct outcome outcome;

	(void)claim;
	need_aexnotify();
	load(notified);
	put_byte(SSA_FRAMES - 1, 1);
	for (int i = 0; i < SSA_FRAMES; i++)
		run_code(AT_ud2, &request);
	outcome = resumed(&request);
	say_outcome(&outcome);
}

/* a: a page of the next frame, which is mapped to be read. */
static void next_frame(const struct claim *claim)
{
	struct request request = example(), handler = example();
	struct outcome outcome;

	stopped(&request, 1);
	run_code(AT_nothing, &handler); /* so that it is present */
	if (call3(SYS_MPROTECT, (long)place(claim->a), PAGE, PROT_READ))
		broken("mprotect");
	outcome = resumed(&handler);
	say_outcome(&outcome);
}

static void invalid_state(const struct claim *claim)
{
	struct request request = example(), handler = example();
	uint8_t byte = 1;
	struct outcome outcome;

	(void)claim;
	stopped(&request, 1);
	copy_in(ssa_of(0) + 520, &byte, 1);
	outcome = resumed(&handler);
	say_outcome(&outcome);
}

static const struct claim notify_claims[] = {
	{ "EENTER, both have AEXNOTIFY", AGREE_SAYS, "EEXIT", entered, AEXNOTIFY, TCS_AEXNOTIFY, 0, 0 },
	{ "EENTER, the enclave alone", AGREE_SAYS, "EENTER: #GP", entered, AEXNOTIFY, 0, 0, 0 },
	{ "EENTER, the TCS alone", AGREE_SAYS, "EENTER: #GP", entered, 0, TCS_AEXNOTIFY, 0, 0 },
	{ "ERESUME, the frame has 1", NOTIFY_SAYS, "EEXIT, CSSA 1", eresume_with, 1, 0, 0, 0 },
	{ "ERESUME, the frame has 0xff", NOTIFY_SAYS, "EEXIT, CSSA 1", eresume_with, 0xff, 0, 0, 0 },
	{ "ERESUME, the frame has 0", NOTIFY_SAYS, "AEX: #UD", eresume_with, 0, 0, 0, 0 },
	{ "ERESUME, the frame has 2", NOTIFY_SAYS, "AEX: #UD", eresume_with, 2, 0, 0, 0 },
	{ "ERESUME, the frame has 0xfe", NOTIFY_SAYS, "AEX: #UD", eresume_with, 0xfe, 0, 0, 0 },
	{ "RBX is the TCS", NOTIFY_SAYS, "yes", registers_at_entry, 3, 1, 0, 0 },
	{ "RCX is the address behind ENCLU", NOTIFY_SAYS ": RCX := RIP", "yes", registers_at_entry, 1, 2, 0, 0 },
	{ "RDI is the host's", NOTIFY_SAYS, "yes", registers_at_entry, 7, 3, 0, 0 },
	{ "CSSA stays", NOTIFY_SAYS, "CSSA 1", cssa_after, 1, 0, 0, 0 },
	{ "CSSA stays, again and again", NOTIFY_SAYS, "CSSA 1", cssa_after, 3, 0, 0, 0 },
	{ "EDECCSSA in what is entered", "SDM 3D 38.4 EDECCSSA", "CSSA 0", cssa_after, 0, 1, 0, 0 },
	{ "the interrupted frame stays", NOTIFY_SAYS, "as before", kept, 0, 0, 0, 0 },
	{ "what was interrupted can be resumed later", NOTIFY_SAYS, "EEXIT, R15 as before", resumed_later, 0, 0, 0, 0 },
	{ "an AEX leaves GPRSGX.AEXNOTIFY alone, 0xa5", "SDM 3D 35.9.1", "0xa5", byte_after_aex, 0xa5, 0, 0, 0 },
	{ "an AEX leaves GPRSGX.AEXNOTIFY alone, 0", "SDM 3D 35.9.1", "0x0", byte_after_aex, 0, 0, 0, 0 },
	{ "no frame is left", NOTIFY_SAYS ": CSSA >= NSSA", "ERESUME: #GP", no_frame, 0, 0, 0, 0 },
	{ "the next frame mapped to be read", NOTIFY_SAYS ": SSA frame", "ERESUME: #PF 0x7 at ssa+0x4000", next_frame, SSA + 4 * PAGE, 0, 0, 0 },
	{ "GPRSGX of the next frame mapped to be read", NOTIFY_SAYS ": GPRSGX", "ERESUME: #PF 0x7 at ssa+0x7f48", next_frame, SSA + 7 * PAGE, 0, 0, 0 },
	{ "the interrupted state is not loaded", NOTIFY_SAYS ": no XRSTOR", "EEXIT", invalid_state, 0, 0, 0, 0 },
};
GROUP(notify_group, "aex-notify", "AEX-Notify: ERESUME that enters anew", notify_claims);
