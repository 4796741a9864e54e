/* Instructions that are illegal, privileged or legal in an enclave. */
#include "conform.h"

#define ILLEGAL_SAYS "SDM 3D table 36-1"
#define PRIVILEGED_SAYS "SDM 2, CPL > 0"

/* a: the code, with RAX = b, RBX = the operand page, RCX = c, RDX = d; for execute_rip(), c is where the instruction is. */
static struct outcome executed(const struct claim *claim, struct request *request)
{
	load((struct options){ 0 });
	*request = (struct request){ .in = { .rax = claim->b, .rbx = place(OPERAND), .rcx = claim->c, .rdx = claim->d,
					     .rsi = place(OPERAND), .rdi = place(OPERAND + 512) } };
	return run_code(claim->a, request);
}

static void execute(const struct claim *claim)
{
	struct request request;
	struct outcome outcome = executed(claim, &request);

	say_outcome(&outcome);
}

static void execute_rip(const struct claim *claim)
{
	struct claim as = { .a = claim->a, .b = claim->b, .d = claim->d };
	struct request request;
	struct outcome outcome = executed(&as, &request);
	struct gprsgx gprsgx;

	if (outcome.how != AEX) {
		say_outcome(&outcome);
		return;
	}
	frame_of(0, &gprsgx, NULL);
	say("%s, EXITINFO %x", gprsgx.rip == place(claim->c) ? "at the instruction" : "somewhere else", (uint64_t)gprsgx.exitinfo);
}

static void execute_on_sgx2(const struct claim *claim)
{
	need_sgx2();
	execute(claim);
}

static void execute_if_leaf7(const struct claim *claim)
{
	uint32_t leaf[4];

	cpuid(claim->d ? 7 : 1, 0, leaf);
	if (!(leaf[claim->d ? 1 : 2] & 1u << claim->c))
		unsupported("CPUID does not have it");
	execute(claim);
}

static void xgetbv_result(const struct claim *claim)
{
	struct request request;
	struct outcome outcome = executed(claim, &request);

	must_exit(&outcome, "XGETBV");
	say("%x", request.out.rax | request.out.rdx << 32);
}

/* b: what POPF loads besides; said is what of it PUSHF has. */
static void popf_result(const struct claim *claim)
{
	struct request request;
	struct outcome outcome = executed(claim, &request);

	must_exit(&outcome, "POPF");
	say("%x", request.out.rax & (ARITHMETIC | TF | DF | 0x200 | 0x3000 | RFLAGS_AC | RFLAGS_ID));
}

#define UD_AT(name, code, rax, at) \
	{ name, ILLEGAL_SAYS, "AEX: #UD", execute, code, rax, 0, 0x80 }, \
	{ name ": where", ILLEGAL_SAYS "; SDM 3D 37.4", "at the instruction, EXITINFO 0x80000306", execute_rip, code, rax, at, 0x80 }
#define UD_(name, code, rax) UD_AT(name, code, rax, code)
#define GP_(name, code) { name, PRIVILEGED_SAYS, "AEX: #GP", execute, code, 0, 0, 0 }
#define LEGAL(name, code) { name, ILLEGAL_SAYS ": not among them", "EEXIT", execute, code, 0, 0, 0 }
static const struct claim claims[] = {
	UD_("CPUID", AT_cpuid, 0), UD_("GETSEC", AT_getsec, 0), UD_("RDPMC", AT_rdpmc, 0), UD_("SGDT", AT_sgdt, 0), UD_("SIDT", AT_sidt, 0),
	UD_("SLDT", AT_sldt, 0), UD_("STR", AT_str, 0), UD_("SMSW", AT_smsw, 0), UD_("VMCALL", AT_vmcall, 0), UD_("VMFUNC", AT_vmfunc, 0),
	UD_("IN from DX", AT_in_dx, 0), UD_("IN from a port of the instruction", AT_in_imm, 0), UD_("IN of 32 bits", AT_in_dx_32, 0),
	UD_("INSB", AT_insb, 0), UD_("INSD", AT_insl, 0), UD_("OUT to DX", AT_out_dx, 0), UD_("OUT to a port of the instruction", AT_out_imm, 0),
	UD_("OUT of 32 bits", AT_out_dx_32, 0), UD_("OUTSB", AT_outsb, 0), UD_("OUTSD", AT_outsl, 0),
	UD_("far CALL", AT_far_call, 0), UD_("far JMP", AT_far_jmp, 0), UD_("far RET", AT_far_ret, 0), UD_("far RET with a number", AT_far_ret_imm, 0),
	UD_("IRET", AT_iret, 0), UD_("INT 80H", AT_int_80, 20), UD_("INT 2EH", AT_int_2e, 0), UD_("INT 3 of two bytes", AT_int_3_long, 0),
	UD_("SYSCALL", AT_syscall, 39), UD_("SYSENTER", AT_sysenter, 20),
	UD_("MOV to DS", AT_mov_ds, 0), UD_("MOV to ES", AT_mov_es, 0), UD_("MOV to SS", AT_mov_ss, 0), UD_("MOV to FS", AT_mov_fs, 0),
	UD_("MOV to GS", AT_mov_gs, 0), UD_AT("POP FS", AT_pop_fs, 0, AT_pop_fs_pops), UD_AT("POP GS", AT_pop_gs, 0, AT_pop_gs_pops), UD_("LSS", AT_lss, 0), UD_("LFS", AT_lfs, 0),
	UD_("LGS", AT_lgs, 0),
	{ "ENCLS", "SDM 3D 38.3 ENCLS: CPL > 0 is #UD", "AEX: #UD", execute, AT_encls, 0, 0, 0 },
	{ "ENCLV", "SDM 3D 38.5 ENCLV: CPL > 0 is #UD", "AEX: #UD", execute, AT_enclv, 0, 0, 0 },
	GP_("HLT", AT_hlt), GP_("CLI", AT_cli), GP_("STI", AT_sti), GP_("CLTS", AT_clts), GP_("INVD", AT_invd), GP_("WBINVD", AT_wbinvd),
	GP_("INVLPG", AT_invlpg), GP_("LGDT", AT_lgdt), GP_("LIDT", AT_lidt), GP_("LLDT", AT_lldt), GP_("LTR", AT_ltr), GP_("LMSW", AT_lmsw),
	GP_("SYSRET", AT_sysret), GP_("SYSEXIT", AT_sysexit), GP_("MOV from CR2", AT_mov_from_cr2), GP_("MOV to CR2", AT_mov_to_cr2),
	GP_("MOV from CR4", AT_mov_from_cr4), GP_("MOV to CR4", AT_mov_to_cr4), GP_("MOV from CR8", AT_mov_from_cr8),
	GP_("MOV to CR8", AT_mov_to_cr8), GP_("MOV from DR0", AT_mov_from_dr0), GP_("MOV to DR0", AT_mov_to_dr0),
	{ "RSM", "SDM 2 RSM: outside SMM is #UD", "AEX: #UD", execute, AT_rsm, 0, 0, 0 },
	{ "MONITOR", "SDM 2 MONITOR: CPL > 0 is #UD", "AEX: #UD", execute, AT_monitor, 0, 0, 0 },
	{ "MWAIT", "SDM 2 MWAIT: CPL > 0 is #UD", "AEX: #UD", execute, AT_mwait, 0, 0, 0 },
	GP_("MOV from CR0", AT_mov_from_cr0), GP_("MOV to CR3", AT_mov_to_cr3), GP_("MOV from DR7", AT_mov_from_dr7), GP_("RDMSR", AT_rdmsr),
	GP_("WRMSR", AT_wrmsr), GP_("SWAPGS", AT_swapgs), GP_("XSETBV", AT_xsetbv),
	LEGAL("NOP", AT_nothing), LEGAL("PAUSE", AT_pause), LEGAL("LAR", AT_lar), LEGAL("LSL", AT_lsl), LEGAL("VERR", AT_verr),
	LEGAL("MOV from DS", AT_store_ds), LEGAL("MOV from SS", AT_store_ss), LEGAL("CLFLUSH", AT_clflush), LEGAL("PREFETCHT0", AT_prefetch),
	LEGAL("LFENCE", AT_lfence), LEGAL("CMPXCHG16B", AT_cmpxchg16b), LEGAL("XGETBV", AT_xgetbv), LEGAL("RDFSBASE", AT_rdfsbase),
	LEGAL("RDGSBASE", AT_rdgsbase), LEGAL("WRFSBASE", AT_wrfsbase),
	{ "RDRAND", ILLEGAL_SAYS ": not among them", "EEXIT", execute_if_leaf7, AT_rdrand, 0, 30, 0 },
	{ "RDTSC with SGX2", ILLEGAL_SAYS ": legal if CPUID.12H.0:EAX.SGX2", "EEXIT", execute_on_sgx2, AT_rdtsc, 0, 0, 0 },
	{ "RDTSCP with SGX2", ILLEGAL_SAYS ": legal if CPUID.12H.0:EAX.SGX2", "EEXIT", execute_on_sgx2, AT_rdtscp, 0, 0, 0 },
	{ "XGETBV of XCR0 is XFRM", "SDM 3D 39.7.5: XCR0 := XFRM", "0x3", xgetbv_result, AT_xgetbv, 0, 0, 0 },
	{ "XGETBV of no register", "SDM 1 13.2", "AEX: #GP", execute, AT_xgetbv, 0, 2, 0 },
	{ "AVX without XFRM's bit", "SDM 3D 39.7.5: XCR0 := XFRM", "AEX: #UD", execute_if_leaf7, AT_vzero, 0, 5, 1 },
	{ "AVX-512 without XFRM's bits", "SDM 3D 39.7.5: XCR0 := XFRM", "AEX: #UD", execute_if_leaf7, AT_zmm, 0, 16, 1 },
	{ "POPF of the arithmetic flags, AC and ID", "SDM 2B POPF", "0x240ad5", popf_result, AT_popf, ARITHMETIC | RFLAGS_AC | RFLAGS_ID, 0, 0 },
	{ "POPF of TF after an opt-out entry has no effect", "SDM 3D 40.2.5", "0x200", popf_result, AT_popf, TF, 0, 0 },
	{ "POPF of IF and IOPL has no effect", "SDM 2B POPF", "0x200", popf_result, AT_popf, 0x3000, 0, 0 },
};
GROUP(instruction_group, "instruction", "instructions that are illegal, privileged or legal in an enclave", claims);
