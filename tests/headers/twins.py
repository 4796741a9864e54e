"""Every header of the project: which structures and constants Python has, too, and which are C's alone.

Some files of C and assembly are here as well, where they declare what has a twin.
"""

from __future__ import annotations

import re
from pathlib import Path

import enclu.attestation
from enclu.base import abi
from enclu.compare.build import SGX_TCS_COUNT
from enclu.conform import image
from enclu.host import channel, designs
from enclu.host.attestation import pce, platform, quote
from enclu.host.conventions import enclu_abi as own
from enclu.host.conventions.sdk import SgxStatus
from enclu.host.conventions.sdk.abi import OCMD_ERET, BuiltinOcall, EnterCommand
from enclu.linux import uapi
from enclu.linux.delivery import base, mm_handler, range_handler, thread_handler, usage, vdso_2018, vdso_jmp
from enclu.native import add_queue, in_process, native_fault, own_aex, shared_area, tickets
from enclu.native.shared_area import BIAS
from enclu.native.trampoline import Rule
from enclu.sgx import aex, enclave_mode, structs, xsave
from enclu.sgx.enclu.enter import RFLAGS_RESTORED
from enclu.sgx.epc import PAGE_SIZE, PageType
from enclu.sgx.exceptions import PFEC, Vector
from enclu.sgx.processor import RFLAGS_RF, RFLAGS_TF
from enclu.sgx.structs import REPORT, REPORT_MACED, Attribute, EncluLeaf, KeyName, KeyPolicy, SecinfoFlag
from tests.support.c_twins import Twins, fields, twins

NUMBERS = {
    "GET_DELIVERY": base.GET_DELIVERY,
    "REGISTER_MM_HANDLER": mm_handler.REGISTER,
    "UNREGISTER_MM_HANDLER": mm_handler.UNREGISTER,
    "SET_VDSO_TARGET": vdso_jmp.SET_TARGET,
    "CLEAR_VDSO_TARGET": vdso_jmp.CLEAR_TARGET,
    "REGISTER_THREAD_HANDLER": thread_handler.REGISTER,
    "UNREGISTER_THREAD_HANDLER": thread_handler.UNREGISTER,
    "REGISTER_RANGE_HANDLER": range_handler.REGISTER,
    "UNREGISTER_RANGE_HANDLER": range_handler.UNREGISTER,
}
"""The designs' ioctls."""
STRUCTURES = [
    base.DELIVERY,
    mm_handler.MM_HANDLER,
    vdso_jmp.VDSO_TARGET,
    thread_handler.THREAD_HANDLER,
    range_handler.RANGE_HANDLER,
    range_handler.RANGE,
    vdso_2018.ENCLAVE_EXCEPTION,
]
"""And their arguments."""

ENTRY_LEAVES = {leaf.name: leaf for leaf in (EncluLeaf.EENTER, EncluLeaf.ERESUME, EncluLeaf.EEXIT)}
REPORT_BODY_FIELDS = {name: f"body.{name.lower()}" for offset, name, _ in REPORT.fields if offset < REPORT_MACED}

ENCLAVE = (
    twins("src/enclu/enclave/aes.h"),
    twins(
        "src/enclu/enclave/attestation.h", {"struct report_request": fields(enclu.attestation.REPORT_REQUEST)},
    ),
    twins(
        "src/enclu/enclave/call.h", {"struct sgx_call": fields(own.SGX_CALL)},
        {
            "ATTRIBUTE_AEXNOTIFY": structs.Attribute.AEXNOTIFY,
            **{f"ENTER_{enter.name}": enter for enter in own.Enter},
            **{f"EXIT_{leave.name}": leave for leave in own.Leave},
            "CALL_MARK": own.MARK, "CALL_WHY": own.WHY, "CALL_UNTOLD": own.UNTOLD,
        },
    ),
    twins("src/enclu/enclave/sealing.h", {"struct sgx_sealed": fields(platform.SEALED, "data")}),
    twins(
        "src/enclu/enclave/sgx.h",
        {
            "struct sgx_targetinfo": fields(structs.TARGETINFO, MEASUREMENT="mrenclave"),
            "struct sgx_report_body": fields(quote.REPORT_BODY),
            "struct sgx_report": fields(REPORT, **REPORT_BODY_FIELDS),
            "struct sgx_keyrequest": fields(structs.KEYREQUEST),
        },
        {
            **{
                leaf.name: leaf
                for leaf in EncluLeaf
                if leaf not in (EncluLeaf.EENTER, EncluLeaf.ERESUME, EncluLeaf.EEXIT)
            },
            **{f"SGX_{name.name}": name for name in KeyName},
            "SGX_ATTRIBUTE_DEBUG": Attribute.DEBUG, "SGX_ATTRIBUTE_PROVISIONKEY": Attribute.PROVISIONKEY,
            "SGX_POLICY_MRENCLAVE": KeyPolicy.MRENCLAVE, "SGX_POLICY_MRSIGNER": KeyPolicy.MRSIGNER,
        },
    ),
    twins(
        "src/enclu/enclave/trusted.h",
        {
            "struct ssa_gpr": fields(structs.GPRSGX),
            "struct ssa_exinfo": fields(structs.EXINFO, MADDR="address", ERRCD="error_code"),
        },
        {
            "SGX_PAGE": PAGE_SIZE, "SGX_SSA_FRAMES": own.FRAMES,
            "EXITINFO_VALID": structs.EXITINFO_VALID, "EXITINFO_VECTOR": structs.EXITINFO_VECTOR,
        },
        alone=["struct thread"],
    ),
    twins(
        "src/enclu/enclave/entry.S",
        constants={
            "FRAMES": own.FRAMES, "LAST_SP": "offsetof(struct thread, last_sp)",
            "EXIT_TO": "offsetof(struct thread, exit_to)", "EXIT_RSP": "offsetof(struct thread, exit_rsp)",
            "EXIT_RBP": "offsetof(struct thread, exit_rbp)", "THREAD_CALL": "offsetof(struct thread, call)",
            "THREAD_TCS": "offsetof(struct thread, tcs)", "THREAD_CSSA": "offsetof(struct thread, cssa)",
            "THREAD_SIZE": "sizeof(struct thread)", "GPRSGX": PAGE_SIZE - structs.GPRSGX.size,
            "AEXNOTIFY": PAGE_SIZE - structs.GPRSGX.size + structs.GPRSGX.offset("AEXNOTIFY"),
        },
        alone=["RSP_KEPT"],
        also=("trusted.h",),
    ),
)  # fmt: skip

STEPPING = (uapi.STEP, uapi.STEP_REGISTERS, uapi.STEPPED, uapi.CHECKPOINT, uapi.INSIDE)

DESIGNS = (
    twins(
        "src/enclu/include/enclu_sgx.h",
        {f"struct {table.name}": fields(table) for table in (*STRUCTURES, uapi.DEBUG_ACCESS, *STEPPING)},
        {
            **{f"ENCLU_SGX_IOC_{name}": number for name, number in NUMBERS.items()},
            "ENCLU_SGX_MAGIC": abi.SGX_MAGIC, "ENCLU_SGX_DEBUG_WRITE": uapi.ENCLU_SGX_DEBUG_WRITE,
            "ENCLU_SGX_IOC_DEBUG_ACCESS": uapi.ENCLU_SGX_IOC_DEBUG_ACCESS,
            "ENCLU_SGX_IOC_DROP_EPC": uapi.ENCLU_SGX_IOC_DROP_EPC,
            **{name: value for name, value in vars(uapi).items()
               if name.startswith(("ENCLU_SGX_STEP_", "ENCLU_SGX_CHECKPOINT_"))},
            **{uapi.ioctl_name(number): number for number in uapi.STEPPING},
        },
    ),
    twins("src/enclu/linux/vdso/common.h", also=("enclu_sgx.h",)),
    twins("src/enclu/linux/vdso/in_process.h", also=("enclu_sgx.h",)),
    twins(
        "src/enclu/linux/vdso/add_queue.h",
        constants={
            "ADD_PAGES": uapi.SGX_IOC_ENCLAVE_ADD_PAGES,
            **{f"ADD_{name.upper()}": uapi.ENCLAVE_ADD_PAGES.offset(name)
               for name in ("src", "offset", "length", "secinfo", "flags", "count")},
            **{f"Q_{name}": 8 * number for name, number in add_queue.WORD.items()},
            "Q_SECINFO": add_queue.SECINFO_AT, "Q_STAT": add_queue.STAT_AT, "Q_DATA": add_queue.DATA_AT,
            "BEHIND_CALL": add_queue.BEHIND_CALL,
        },
        also=("enclu_sgx.h",),
    ),
    twins(
        "src/enclu/linux/vdso/in_process_state.h",
        constants={
            **{f"S_{name}": 8 * number - BIAS for name, number in enclave_mode.WORD.items()},
            "S_INITIAL": enclave_mode.INITIAL - BIAS, "S_XSAVE": enclave_mode.XSAVE - BIAS,
            **{f"T_{name}": 8 * number for number, name in enumerate(tickets.FIELDS) if name != "ENTRY"},
            "T_STUBS": tickets.STUBS, "TICKET_SHIFT": tickets.SIZE_SHIFT, "TICKET_BITS": tickets.BITS,
            "TICKET_HASH": tickets.HASH, "TICKETS": shared_area.TICKETS, "SELECTOR": shared_area.SELECTOR,
            "SLOT_BIAS": BIAS,
            **{rule.name: rule for rule in Rule},
            **{f"R_{name}": 8 * number for number, name in enumerate(in_process.RECORD)},
            "R_SIZE": in_process.RECORD_SIZE,
            **{f"{leaf.name}_LEAF": leaf for leaf in enclave_mode.COUNTED},
            **{f"TCS_{name}": structs.TCS.offset(name) for name in ("STATE", "CSSA", "AEP")},
            **{f"GPRSGX_{name}": offset for offset, name, _ in structs.GPRSGX.fields},
            "GPRSGX_SIZE": structs.GPRSGX.size,
            **{f"EXINFO_{name}": offset - structs.EXINFO.size for offset, name, _ in structs.EXINFO.fields},
            **{f"F_{name}": offset for name, offset in own_aex.FRAME.items()}, "F_XFEATURES": own_aex.XFEATURES,
            "CODE_W": PFEC.W, "CODE_I": PFEC.I, "CODE_UNKNOWN": enclave_mode.CODE_UNKNOWN,
            "CODE_OF_FRAME": enclave_mode.CODE_OF_FRAME, "CODE_MASK": own_aex.CODE_MASK,
            "RFLAGS_TF": RFLAGS_TF, "RFLAGS_RF": RFLAGS_RF, "RFLAGS_CLEARED": aex.RFLAGS_CLEARED,
            "SYNTHETIC_MXCSR": xsave.SYNTHETIC_MXCSR, "XSAVE_HEADER": xsave.HEADER, "RFLAGS_RESTORED": RFLAGS_RESTORED,
            "RFLAGS_FIXED": native_fault.RFLAGS_INITIAL, "XSAVE_AVX": xsave.AVX, "XSAVE_AVX512": xsave.AVX512,
            "XSAVE_ZMM_HI256": xsave.mask_of(xsave.Component.ZMM_HI256),
        },
        alone=["XSAVE_MXCSR", "NOT_CANONICAL"],
        also=("enclu_sgx.h",),
    ),
)  # fmt: skip

AGENT = (
    twins(
        "src/enclu/host/agent/agent.h",
        {
            "struct channel": fields(channel.ChannelStruct, inputs="in"), "struct hello": fields(designs.HELLO),
            "struct way": fields(designs.WAY), "struct field": fields(designs.FIELD),
        },
        {
            **{f"CHANNEL_{name.upper()}": getattr(channel.ChannelStruct, name).offset
               for name in ("leaf", "vector", "error_code", "address", "out")},
            "CHANNEL_IN": channel.ChannelStruct.inputs.offset,
            **{f"FRAME_{name.upper()}": f"offsetof(struct frame, {name})"
               for name in ("tcs", "channel", "rbp", "info", "arguments")},
            **ENTRY_LEAVES, "INTERRUPTED": channel.INTERRUPTED,
            "TURN_PYTHON": channel.TURN_PYTHON, "TURN_AGENT": channel.TURN_AGENT,
            "LOOKS_IN_VAIN": channel.LOOKS_IN_VAIN, "LOOKS_SELDOM": channel.LOOKS_SELDOM,
            **{f"COMMAND_{command.name}": command for command in channel.Command},
            "VALUE_NONE": designs.VALUES.index(""), "VALUE_IN": designs.VALUES.index(usage.REGISTERS[0]),
            **{f"VALUE_{name.upper()}": designs.VALUES.index(name) for name in usage.ARGUMENTS},
        },
        alone=["struct frame"],
    ),
    twins("src/enclu/host/agent/system_call.h"),
)  # fmt: skip

ATTESTATION = (
    twins("enclaves/p256.h", alone=["struct p256_key"]),
    twins(
        "enclaves/pce.h",
        {"struct pce_info": fields(pce.PCE_INFO), "struct pce_certification": fields(pce.PCE_CERTIFICATION)},
        {
            "PCE_ID": pce.PCE_ID,
            **{f"PCE_{function.name}": function for function in pce.PceFunction},
            **{f"PCE_{error.name}": error for error in pce.PceError},
        },
    ),
    twins(
        "enclaves/qe.h",
        {
            "struct qe_certification": fields(platform.QE_CERTIFICATION),
            "struct qe_request": fields(platform.QE_REQUEST),
        },
        {
            "QE_VENDOR_ID": quote.ENCLU.bytes, "QE_KEY_SIZE": platform.SEALED_KEY,
            **{f"QE_{function.name}": function for function in platform.QeFunction},
            **{f"QE_{error.name}": error for error in platform.QeError},
            **{f"QE_OCALL_{ocall.name}": ocall for ocall in platform.QeOcall},
        },
        alone=["QE_AUTHENTICATION_DATA"],
    ),
    twins(
        "enclaves/qe.c",
        {"struct quote_header": fields(quote.HEADER), "struct signatures": fields(quote.SIGNATURES)},
        alone=["struct quoted", "struct work", "MAX_CERTIFICATION_DATA"],
    ),
)  # fmt: skip

SCENARIOS = (
    twins(
        "scenarios/runtime.h", {},
        {"SGX_PAGE": PAGE_SIZE, "SGX_TCS_COUNT": SGX_TCS_COUNT, "SGX_SSA_FRAMES": own.FRAMES, **ENTRY_LEAVES},
        alone=[
            "struct sgx_enclave", "struct sgx_exception", "struct sgx_host", "struct sgx_registers",
            "struct sgx_runtime", "enum sgx_decision",
        ],
    ),
    twins(
        "scenarios/runtimes/common/core.h", {},
        {"ENTRY_TCS": "offsetof(struct entry, tcs)", "ENTRY_CALL": "offsetof(struct entry, call)", **ENTRY_LEAVES},
        alone=["struct entry", "struct design"],
    ),
    twins("scenarios/runtimes/common/frame.h", alone=["FRAME_ENTRY"], also=("core.h",)),
    twins(
        "scenarios/runtimes/common/probe.h", {},
        {
            "YMM_HIGH": "offsetof(struct sgx_registers, ymm_high)", "GPR": "offsetof(struct sgx_registers, gpr)",
            "RFLAGS": "offsetof(struct sgx_registers, rflags)",
        },
        also=("runtime.h",),
    ),
    twins("scenarios/pair.h", alone=["struct pair"]),
    twins("scenarios/scenario.h", alone=["struct ran"]),
    twins("scenarios/threads.h", alone=["struct worker", "THREADS", "ROUNDS"]),
    twins("scenarios/enclaves/basic.h", alone=["struct step", "enum step_kind", "BASIC_RUN", "STEP_HANDLED"]),
    twins("scenarios/debugger/debugger.h", alone=["struct debugger"]),
    twins("scenarios/demand-paging/pages.h", alone=["struct range", "PAGES_FILL", "PAGES_ACCEPTED"]),
    twins(
        "scenarios/emulated-instructions/emulated.h",
        alone=["struct emulated", "EMULATED_RUN", "EMULATED_UNKNOWN", "OCALL_CPUID", "OCALL_SYSCALL", "PORT"],
    ),
    twins("scenarios/gdb/stub.h"),
    twins("scenarios/go-host/host.h", alone=["struct spin", "RAISE_UD", "RAISE_NULL", "RAISE_GP", "RAISE_DE"]),
    twins("scenarios/jvm-host/vm.h", alone=["struct object"]),
    twins("scenarios/quote/app.h", alone=["struct app_request", "APP_ATTEST", "APP_OCALL_LOAD", "APP_OCALL_QUOTE"]),
    twins("scenarios/pkcs11/heap.h"),
    twins(
        "scenarios/pkcs11/module.h", flags=("-I/usr/include/p11-kit-1",),
        alone=[
            "struct stored", "struct pair", "struct operation", "struct session", "LABEL_MAX", "ANY_SESSION", "LOCKED",
        ],
    ),
    twins(
        "scenarios/pkcs11/token.h",
        alone=[
            "struct token_key", "struct token_request", "enum token_function", "enum token_error", "TOKEN_KEYS",
            "TOKEN_POINT", "TOKEN_HASH", "TOKEN_SIGNATURE", "TOKEN_INPUT_MAX",
        ],
    ),
    twins("scenarios/pkcs11/verify.h"),
)  # fmt: skip

SDK_STATUSES = (
    "SGX_SUCCESS", "SGX_ERROR_UNEXPECTED", "SGX_ERROR_INVALID_PARAMETER", "SGX_ERROR_OUT_OF_MEMORY",
    "SGX_ERROR_INVALID_FUNCTION", "SGX_ERROR_ENCLAVE_CRASHED", "SGX_ERROR_ECALL_NOT_ALLOWED", "SGX_ERROR_STACK_OVERRUN",
)  # fmt: skip
TESTS = (
    twins(
        "tests/c/enclave.h", {},
        {
            "PAGE": PAGE_SIZE, **ENTRY_LEAVES, "PT_TCS_FLAGS": PageType.TCS << 8, "PT_REG_FLAGS": PageType.REG << 8,
            "PT_TRIM_FLAGS": PageType.TRIM << 8,
            "RW_PENDING": structs.SecinfoFlag.R | structs.SecinfoFlag.W | structs.SecinfoFlag.PENDING,
            "ATTRIBUTE_DEBUG": structs.Attribute.DEBUG,
            "ATTRIBUTE_AEXNOTIFY": structs.Attribute.AEXNOTIFY, "TCS_DBGOPTIN": structs.TCS_DBGOPTIN,
            "TCS_AEXNOTIFY": structs.TCS_AEXNOTIFY,
        },
        alone=[
            "struct enclave_options", "struct enclave", "struct raw_fault", "struct outcome", "struct spinner",
            "enum raw_result",
        ],
    ),
    twins(
        "tests/host/sdk/protocol.h", {},
        {
            **{command.name: command for command in (*EnterCommand, *BuiltinOcall)},
            **{status: SgxStatus[status] for status in SDK_STATUSES},
        },
        alone=["struct trusted_thread", "struct context", "STACK_SIZE", "RED_ZONE"],
    ),
    twins(
        "tests/host/sdk/edmm.h",
        constants={
            **{flag: structs.SecinfoFlag[flag] for flag in ("R", "W", "PENDING", "MODIFIED", "PR")},
            **{kind: PageType[kind] << 8 for kind in ("TCS", "REG", "TRIM")},
        },
    ),
    twins(
        "tests/host/sdk/protocol.S",
        constants={
            "ORET": EnterCommand.ECMD_ORET, "ERET": OCMD_ERET, "STACK_PAGES": "STACK_SIZE / SGX_PAGE",
            **{field.upper(): f"offsetof(struct trusted_thread, {field})"
               for field in ("self", "last_sp", "stack_base", "ssa", "exit_to", "notify")},
            **{f"GPR_{name}": PAGE_SIZE - structs.GPRSGX.size + structs.GPRSGX.offset(name)
               for name in ("URSP", "URBP", "AEXNOTIFY")},
        },
        alone=["FRAMES"],
        also=("protocol.h",),
    ),
    twins("benchmarks/tracee.h"),
    twins("tests/c/storm.h"),
    twins("tests/c/fault.h", alone=["struct of signo rip rax trapno", "enum met"]),
    twins(
        "tests/c/enclaves/requests.h",
        alone=[
            "struct request", "struct state", "enum request_op", "enum instruction", "TEST_TCS_COUNT",
            "TEST_SSA_FRAMES",
        ],
    ),
)  # fmt: skip

KERNEL_STRUCTURES = (
    uapi.ENCLAVE_CREATE, uapi.ENCLAVE_ADD_PAGES, uapi.ENCLAVE_INIT, uapi.ENCLAVE_PROVISION,
    uapi.ENCLAVE_RESTRICT_PERMISSIONS, uapi.ENCLAVE_MODIFY_TYPES, uapi.ENCLAVE_REMOVE_PAGES, uapi.ENCLAVE_RUN,
)  # fmt: skip
CONFORM = (
    twins(
        "src/enclu/conform/program/sgx.h",
        {
            "struct secs": fields(structs.SECS), "struct secinfo": fields(structs.SECINFO),
            "struct gprsgx": fields(
                structs.GPRSGX, "registers", **{n.upper(): f"registers.{n}" for n in (*structs.GPR_NAMES, "rflags")}
            ),
            "struct exinfo": fields(structs.EXINFO), "struct targetinfo": fields(structs.TARGETINFO),
            "struct report": fields(REPORT), "struct keyrequest": fields(structs.KEYREQUEST),
        },
        {
            "PAGE": PAGE_SIZE, **{leaf.name: leaf for leaf in EncluLeaf},
            **{vector: Vector[vector] for vector in ("DE", "DB", "BP", "UD", "NM", "GP", "PF", "MF", "AC", "XM")},
            "SS_FAULT": Vector.SS, **{f"PT_{t}": PageType[t] for t in ("SECS", "TCS", "REG", "VA", "TRIM")},
            **{t: PageType[t] << 8 for t in ("REG", "TCS", "TRIM")}, **{str(f.name): f for f in SecinfoFlag},
            "ATTRIBUTE_INIT": Attribute.INIT,
            **{a: Attribute[a] for a in ("DEBUG", "MODE64BIT", "PROVISIONKEY", "EINITTOKEN_KEY", "KSS", "AEXNOTIFY")},
            "MISC_EXINFO": structs.MISC_EXINFO, "TCS_FLAGS": structs.TCS.offset("FLAGS"),
            "TCS_AEXNOTIFY": structs.TCS_AEXNOTIFY,
            **{f"KEY_{key.name.removesuffix('_KEY')}": key for key in KeyName},
            **{f"PF_{bit}": PFEC[bit] for bit in ("P", "W", "U", "I", "SGX")},
        },
        alone=["struct registers", "enum rflags", "EVERIFYREPORT2", "ARITHMETIC"],
    ),
    twins(
        "src/enclu/conform/program/kernel.h",
        {f"struct {table.name}": fields(table) for table in KERNEL_STRUCTURES},
        {
            **{name: getattr(uapi, name) for name in dir(uapi) if name.startswith("SGX_IOC_")},
            "SGX_PAGE_MEASURE": uapi.SGX_PAGE_MEASURE,
            **{name: getattr(abi, name) for name in ("MS_ASYNC", "MS_SYNC", "PR_SET_PDEATHSIG")},
        },
        alone=[
            "enum personality", "struct stack",
            "struct siginfo", "struct sigcontext", "struct ucontext", "struct sigaction", "struct itimerval",
            "struct utsname", "enum system_call", "enum error_number", "enum open_flag", "enum protection",
            "enum map_flag", "enum mremap_flag", "enum advice", "enum signal", "enum action_flag", "enum auxiliary",
        ],
    ),
    twins(
        "src/enclu/conform/program/registers.h", constants={"RFLAGS": "offsetof(struct registers, rflags)"},
        also=("sgx.h",),
    ),
    twins(
        "src/enclu/conform/program/conform.h",
        alone=[
            "struct claim", "struct group", "struct options", "struct enclave", "struct request", "struct outcome",
            "struct transition", "struct state_at_entry", "enum case_status", "enum enclave_state", "enum how_left",
            "enum preparation", "enum state_components", "MEASURED", "NOWHERE", "FAR_ADDRESS",
        ],
    ),
    twins("src/enclu/conform/program/events.h", alone=["struct event", "EVENTS"]),
    twins(
        "src/enclu/conform/program/image.h",
        constants={
            **image.places(), "ENCLAVE_SIZE": image.SIZE, "SSA_FRAME_PAGES": image.SSA_FRAME_PAGES,
            "SSA_FRAMES": image.SSA_FRAMES, "FS_MARK": image.FS_MARK, "GS_MARK": image.GS_MARK,
            "SIGNED_ISVSVN": image.ISVSVN,
            **{f"SIGNED_{name}": number for number, name in enumerate(image.SIGSTRUCTS)},
        },
        alone=re.findall(r"^#define (AT_\w+)", image.OUTPUT.read_text(), re.MULTILINE),
    ),
)  # fmt: skip

ALL = (*CONFORM, *ENCLAVE, *DESIGNS, *AGENT, *ATTESTATION, *SCENARIOS, *TESTS)

KERNEL = Twins(
    Path("asm/sgx.h"), {f"struct {table.name}": fields(table) for table in KERNEL_STRUCTURES},
    {
        **{name: getattr(uapi, name) for name in dir(uapi) if name.startswith("SGX_IOC_")},
        "SGX_MAGIC": abi.SGX_MAGIC, "SGX_PAGE_MEASURE": uapi.SGX_PAGE_MEASURE,
    },
)  # fmt: skip
"""The kernel's own header, which may have more."""
