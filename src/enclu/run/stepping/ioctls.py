"""The ioctls by which a program steps through its enclaves: include/enclu_sgx.h has them with their errors."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from enclu.linux import uapi
from enclu.run.stepping import registers
from enclu.run.stepping.plan import FREE, INTERRUPT, RAISE, Plan
from enclu.run.stepping.stepping import Stepping
from enclu.sgx.epc import PAGE_SIZE
from enclu.sgx.exceptions import Vector
from enclu.sgx.structs import GPRSGX

if TYPE_CHECKING:
    from enclu.linux.encl import Encl
    from enclu.run.supervisor import Supervisor
    from enclu.run.task import Task

MOST_RECORDED = 1 << 24
MOST_OF_STACK = 8 << 20
SIGNALS = range(1, 65)
FORGEABLE = frozenset(
    (Vector.DE, Vector.BR, Vector.UD, Vector.NM, Vector.SS, Vector.GP, Vector.MF, Vector.AC, Vector.XM, Vector.BP,
     Vector.DB, Vector.OF, Vector.NP, Vector.CP)
)  # fmt: skip
"""What a plan may raise.  A #PF is for mprotect(2) to bring about: the kernel would resolve any other."""


def ioctl(sup: Supervisor, task: Task, cmd: int, argument: int) -> int:
    """One of uapi.STEPPING.  Raises OSError."""
    stepping = sup.transitions
    if not isinstance(stepping, Stepping):
        raise OSError(errno.ENOTTY, "enclaves can be stepped through in a run with --stepping")
    if cmd == uapi.ENCLU_SGX_IOC_STEP:
        _step(stepping, task, argument)
    elif cmd == uapi.ENCLU_SGX_IOC_STEPPED:
        _stepped(stepping, task, argument)
    elif cmd == uapi.ENCLU_SGX_IOC_CHECKPOINT:
        _checkpoint(stepping, task, argument)
    else:
        _inside(task, argument)
    return 0


def _step(stepping: Stepping, task: Task, argument: int) -> None:
    space = task.space
    f = uapi.STEP.unpack(space.read(argument, uapi.STEP.size))
    if f["then"] not in (FREE, INTERRUPT, RAISE):
        raise OSError(errno.EINVAL, f"enclu_sgx_step.then is {f['then']}")
    if f["then"] == INTERRUPT and f["signo"] not in SIGNALS:
        raise OSError(errno.EINVAL, f"{f['signo']} is no signal")
    if f["then"] == RAISE and f["vector"] not in FORGEABLE:
        raise OSError(errno.EINVAL, f"vector {f['vector']} cannot be raised: #PF comes by mprotect(2)")
    if f["error_code"] >> 32:
        raise OSError(errno.EINVAL, f"an error code has 32 bits, not {f['error_code']:#x}")
    if f["room"] > MOST_RECORDED:
        raise OSError(errno.EINVAL, f"at most {MOST_RECORDED} instructions are recorded")
    if f["unnotified"] > 1:
        raise OSError(errno.EINVAL, f"enclu_sgx_step.unnotified is {f['unnotified']}")
    encl = _encl(task, f["tcs"])
    if not encl.created:
        raise OSError(errno.EINVAL, f"no enclave has been created at {f['tcs']:#x}")
    chosen = None
    if f["entry"]:
        try:
            chosen = registers.wanted(space.read(f["entry"], uapi.STEP_REGISTERS.size))
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from None
    stack = None
    if max(f["stack_size"], f["clear"]) > MOST_OF_STACK:
        raise OSError(errno.EINVAL, f"at most {MOST_OF_STACK} bytes of a stack are written")
    if f["stack_size"]:
        stack = f["stack"], space.read(f["stack_from"], f["stack_size"])
    stepping.plan(
        task.mm,
        Plan(
            encl.eid, f["tcs"], f["until"], f["address"], f["times"], f["then"], f["signo"], f["vector"],
            f["error_code"], f["room"], chosen, stack, f["clear"], bool(f["unnotified"]),
        ),
    )  # fmt: skip


def _stepped(stepping: Stepping, task: Task, argument: int) -> None:
    space = task.space
    asked = uapi.STEPPED.unpack(space.read(argument, uapi.STEPPED.size))
    plan = stepping.planned(task.mm, asked["tcs"])
    if plan is None:
        raise OSError(errno.ENOENT, f"nothing is planned for the TCS at {asked['tcs']:#x}")
    recorded = plan.recorded[: asked["recorded"]] if asked["record"] else []
    if recorded:
        space.write(asked["record"], struct.pack(f"<{len(recorded)}Q", *recorded))
    if asked["left"] and plan.left:
        space.write(asked["left"], plan.left)
    xsave = plan.xsave[: asked["xsave_size"]]
    if asked["xsave"] and xsave:
        space.write(asked["xsave"], xsave)
    answer = {**asked, "stopped": int(plan.stopped), "executed": plan.executed, "recorded": len(plan.recorded),
              "entries": plan.entries, "drawn": plan.drawn, "has_left": int(bool(plan.left)),
              "xsave_size": len(plan.xsave)}  # fmt: skip
    answer["cssa"], frame = stepping.frame(task, asked["tcs"])
    if frame is not None:
        at = PAGE_SIZE - GPRSGX.size
        answer |= {name: GPRSGX.get(frame, name.upper(), at) for name in ("rip", "rsp", "ursp")}
    space.write(argument, uapi.STEPPED.pack(**answer))


def _checkpoint(stepping: Stepping, task: Task, argument: int) -> None:
    f = uapi.CHECKPOINT.unpack(task.space.read(argument, uapi.CHECKPOINT.size))
    encl, action, number = _encl(task, f["address"]), f["action"], f["number"]
    if not encl.initialized:
        raise OSError(errno.EINVAL, "the enclave has not been initialised")
    if encl.secs is not None and encl.secs.inside:
        raise OSError(errno.EBUSY, "a thread is in the enclave")
    if action > uapi.ENCLU_SGX_CHECKPOINT_DROP:
        raise OSError(errno.EINVAL, f"enclu_sgx_checkpoint.action is {action}")
    if action != uapi.ENCLU_SGX_CHECKPOINT_TAKE and (encl.eid, number) not in stepping.checkpoints:
        raise OSError(errno.ENOENT, f"the enclave has no checkpoint {number}")
    pages = 0
    if action == uapi.ENCLU_SGX_CHECKPOINT_TAKE:
        pages = stepping.take(encl, number)
    elif action == uapi.ENCLU_SGX_CHECKPOINT_MOVE:
        pages = stepping.move(encl, number)
    elif action == uapi.ENCLU_SGX_CHECKPOINT_RESTORE:
        pages = stepping.restore(encl, number)
    else:
        del stepping.checkpoints[encl.eid, number]
    task.space.write(argument + uapi.CHECKPOINT.offset("pages"), pages.to_bytes(8, "little"))


def _inside(task: Task, argument: int) -> None:
    f = uapi.INSIDE.unpack(task.space.read(argument, uapi.INSIDE.size))
    encl, done = _encl(task, f["address"]), 0
    while done < f["length"]:
        address = f["address"] + done
        page = encl.load(address).epc
        assert page is not None
        at = address % PAGE_SIZE
        data = bytes(page.data[at : at + min(PAGE_SIZE - at, f["length"] - done)])
        task.space.write(f["buffer"] + done, encl.kernel.processors.original(address, data))
        done += len(data)


def _encl(task: Task, address: int) -> Encl:
    """The enclave that is mapped there.  Raises OSError."""
    vma = task.mm.find_vma(address)
    if vma is None or vma.encl is None:
        raise OSError(errno.EFAULT, f"no enclave is mapped at {address:#x}")
    return vma.encl
