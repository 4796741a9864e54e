"""The event loop: every stop of every traced thread, turned into what the machine makes of it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from enclu.linux.kernel import Kernel
from enclu.linux.vdso import image as vdso_image
from enclu.native import cpuid, exceptions, exec_image, ptrace, signals
from enclu.native.address_space import VDSO_AREA, VDSO_BASE, AddressSpace
from enclu.native.inject import SYNCHRONOUS, ThreadGone, inject, wait_for
from enclu.native.intercept import Interceptor
from enclu.native.native_fault import exception_of
from enclu.native.process import Process, SignalHandlers
from enclu.native.syscalls import NR
from enclu.native.thread import Thread
from enclu.sgx import enclu
from enclu.sgx.enclave_mode import SLOT_SIZE
from enclu.sgx.exceptions import Fault, Vector
from enclu.sgx.leave import shut_down

if TYPE_CHECKING:
    from collections.abc import Callable

    from enclu.linux.delivery.base import Delivery
    from enclu.linux.encl import Encl
    from enclu.linux.stats import Stats
    from enclu.sgx.machine import Machine

CLONE_VM, CLONE_SIGHAND, CLONE_THREAD = 0x100, 0x800, 0x10000
MAX_THREADS = 1 << 15
STOP_SIGNALS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
INTERRUPTED = ptrace.Event.STOP << 16 | signal.SIGTRAP << 8 | 0x7F
"""Wait status of a thread that PTRACE_INTERRUPT stopped."""
SIGILL_STOP = signal.SIGILL << 8 | 0x7F
ENCLU = b"\x0f\x01\xd7"
PIN_AFTER, PIN_WINDOW_NS = 32, 32_000_000
"""A thread that stops this often within this time shares the supervisor's processor from then on."""


class Supervisor:
    """Owns every traced process of one run.  Also the `linux.interfaces.Processors` of its kernel."""

    def __init__(self, machine: Machine, delivery: Delivery, stats: Stats, *, pin: bool = True) -> None:
        self.kernel = Kernel(machine, delivery, stats, self)
        self.machine = machine
        self.delivery = delivery
        self.stats = stats
        self.image = vdso_image.load(delivery.vdso)
        self.syscall_stub = VDSO_BASE + self.image.syscall_stub
        self.threads: dict[int, Thread] = {}
        self.current: Thread | None = None
        self.main_pid = 0
        self.exit_status: int | None = None
        self.interceptor = Interceptor(self)
        self._early: dict[int, int] = {}
        """First stops of children whose parents' events have not come yet."""
        self._deferred: list[tuple[Thread, int]] = []
        self._slots = memoryview(mmap.mmap(-1, MAX_THREADS * SLOT_SIZE))
        self._free_slots = list(range(MAX_THREADS - 1, -1, -1))
        self._cpu = self._choose_cpu() if pin else -1
        self._info = ptrace.SigInfo()
        self._warned_ptrace = False

    def _choose_cpu(self) -> int:
        """Settle on the processor that the supervisor is on now."""
        cpu = int(ctypes.CDLL(None).sched_getcpu())
        self._free_affinity = os.sched_getaffinity(0)
        return cpu if len(self._free_affinity) > 1 else -1

    # Threads and processes.

    def new_thread(self, tid: int, process: Process) -> Thread:
        index = self._free_slots.pop()
        thread = Thread(tid, process, self.machine, self._slots[index * SLOT_SIZE : (index + 1) * SLOT_SIZE])
        thread.slot_index = index
        self.threads[tid] = thread
        process.threads[tid] = thread
        return thread

    def _forget(self, thread: Thread) -> None:
        if self.threads.pop(thread.tid, None) is None:
            return
        if thread.mode.enclave:
            shut_down(thread)
        process = thread.process
        process.threads.pop(thread.tid, None)
        self._free_slots.append(thread.slot_index)
        if not process.threads:
            self._process_gone(process)

    def _process_gone(self, process: Process) -> None:
        self.delivery.on_exit(process)
        space = process.space
        if not any(t.space is space for t in self.threads.values()):
            space.close_memory()
            self.kernel.mm_gone(space.mm)
        self.release_unreferenced()

    def new_space(self, pid: int) -> AddressSpace:
        return AddressSpace(self.kernel, pid, self.syscall_stub, self.inject_in)

    def adopt(self, pid: int) -> None:
        """Take over the first process, stopped at its exec event."""
        self.main_pid = pid
        process = Process(pid, self.new_space(pid))
        thread = self.new_thread(pid, process)
        thread.started = True
        thread.stopped = True
        self._after_exec(thread)

    # The loop.

    def run(self) -> int:
        """Supervise until the last process is gone; the first one's wait status."""
        while self.threads or self._early:
            if self._deferred:
                thread, status = self._deferred.pop(0)
                if thread.tid not in self.threads:
                    continue
                tid = thread.tid
            else:
                try:
                    tid, status = os.waitpid(-1, ptrace.WALL)
                except ChildProcessError:
                    break
                if status == SIGILL_STOP and self._transition(tid):
                    continue
            self._dispatch(tid, status)
        assert self.exit_status is not None
        return self.exit_status

    def _transition(self, tid: int) -> bool:
        """The hot path: EENTER, ERESUME or EEXIT at a known ENCLU.  False, with nothing changed, for all else.

        Does what `_dispatch` would, without what these three leaves never need.
        """
        thread = self.threads.get(tid)
        if thread is None or thread.frame_patch is not None:
            return False
        raw, regs, pointer = ptrace.raw, thread.regs, thread.regs_pointer
        if raw(ptrace.GETREGS, tid, 0, pointer) or regs.rip not in thread.process.space.enclu_sites:
            return False
        leaf = regs.rax & 0xFFFF_FFFF
        if not 2 <= leaf <= 4 or raw(ptrace.GETSIGINFO, tid, 0, self._info.pointer) or self._info.code <= 0:
            return False
        thread.stopped = True
        try:
            enclu.execute(thread)
        except Fault:
            return False
        self.stats.leaves[leaf] += 1
        thread.stop_count += 1
        if thread.stop_count >= PIN_AFTER and self._cpu >= 0:
            self._place(thread)
        thread.stopped = False
        raw(ptrace.SETREGS, tid, 0, pointer)
        raw(ptrace.SYSEMU if leaf != 4 else ptrace.CONT, tid, 0, 0)
        return True

    def _dispatch(self, tid: int, status: int) -> None:
        thread = self.threads.get(tid)
        if not os.WIFSTOPPED(status):
            self._ended(tid, status)
            return
        if thread is None:
            self._early[tid] = status
            return
        self.current = thread
        thread.stopped = True
        try:
            self._stopped(thread, status)
        except ThreadGone as gone:
            self._ended(gone.tid, gone.status)
        except Exception:
            # What we read of a thread that was killed meanwhile is void; its end will be reported.
            if ptrace.stopped(thread.tid):
                raise
            self._note_lost(thread)
        finally:
            self.current = None
        while thread.pending and thread.tid in self.threads:
            # Signals that came during injected calls: queue them again for the thread.
            put_off = thread.pending.pop(0) >> 8 & 0xFF
            with contextlib.suppress(ProcessLookupError):
                signals.send(thread, put_off)

    def _note_lost(self, thread: Thread) -> None:
        if not os.path.exists(f"/proc/{thread.tid}"):
            self._forget(thread)

    def _ended(self, tid: int, status: int) -> None:
        self._early.pop(tid, None)
        if tid == self.main_pid:
            self.exit_status = status
        thread = self.threads.get(tid)
        if thread is not None:
            self._forget(thread)

    def _stopped(self, thread: Thread, status: int) -> None:
        event = status >> 16
        signo = status >> 8 & 0xFF
        thread.stop_count += 1
        if thread.stop_count >= PIN_AFTER and self._cpu >= 0:
            self._place(thread)
        if event == 0:
            if signo == signal.SIGTRAP | ptrace.SYSCALL_STOP:
                self._syscall_stop(thread)
            else:
                self._signal_stop(thread, signo)
        elif event == ptrace.Event.SECCOMP:
            thread.injected = False
            thread.fetch()
            self.interceptor.handle(thread)
        elif event == ptrace.Event.STOP:
            self._event_stop(thread, signo)
        elif event == ptrace.Event.EXEC:
            self._exec(thread)
        else:
            self._clone(thread, event)

    def _place(self, thread: Thread) -> None:
        """Bring threads that stop often onto one processor with the supervisor, send others back."""
        now = time.monotonic_ns()
        often = now - thread.stop_window < PIN_WINDOW_NS
        if often != thread.pinned:
            with contextlib.suppress(OSError):
                if often:
                    os.sched_setaffinity(0, {self._cpu})
                    thread.pin(self._cpu)
                else:
                    thread.unpin()
        thread.stop_count = 0
        thread.stop_window = now

    # Stops.

    def _signal_stop(self, thread: Thread, signo: int) -> None:
        regs = thread.fetch()
        if thread.frame_patch is not None:
            signals.apply_frame_patch(thread)
            self._info.get(thread.tid)
            if signo == signal.SIGTRAP and self._info.code == signal.SIGTRAP:
                thread.resume()
                return
        if signo == signal.SIGILL and self._at_enclu(thread, regs.rip):
            self._info.get(thread.tid)
            if self._info.code > 0:
                leaf = regs.rax & 0xF
                try:
                    enclu.execute(thread)
                except Fault as fault:
                    exceptions.take(self, thread, fault, None)
                    return
                self.stats.leaves[leaf] += 1
                thread.store()
                thread.resume()
                return
        exceptions.signal_stop(self, thread, signo)

    def _at_enclu(self, thread: Thread, rip: int) -> bool:
        space = thread.process.space
        if space.peek(rip, 3) != ENCLU:
            return False
        space.enclu_sites.add(rip)
        return True

    def _syscall_stop(self, thread: Thread) -> None:
        regs = thread.fetch()
        if thread.mode.enclave:
            # SYSCALL in an enclave is #UD.  The instruction itself has overwritten RCX and R11.
            regs.rip -= 2
            regs.rax = regs.orig_rax
            regs.orig_rax = ptrace.NO_SYSCALL
            exceptions.take(self, thread, Fault(6, why="SYSCALL in an enclave"), None)
            return
        on_exit, thread.on_syscall_exit = thread.on_syscall_exit, None
        if on_exit is not None:
            on_exit(thread)
        thread.resume()

    def _event_stop(self, thread: Thread, signo: int) -> None:
        if not thread.started:
            thread.started = True
            signals.inherit_mask(thread)
            thread.resume()
        elif signo in STOP_SIGNALS:
            ptrace.ptrace(ptrace.LISTEN, thread.tid, 0, 0)
            if thread.tid == self.main_pid and signo != signal.SIGSTOP:
                # Job control: our shell must see its child stop too.
                os.kill(os.getpid(), signal.SIGSTOP)
        else:
            thread.resume()

    def _clone(self, parent: Thread, event: int) -> None:
        tid = ptrace.event_message(parent.tid)
        regs = parent.fetch()
        flags = 0
        if regs.orig_rax == NR["clone"]:
            flags = regs.rdi
        elif regs.orig_rax == NR["clone3"]:
            flags = int.from_bytes(parent.space.peek(regs.rdi, 8), "little")
        elif event == ptrace.Event.VFORK:
            flags = CLONE_VM
        process = parent.process
        if not flags & CLONE_THREAD:
            space = parent.space if flags & CLONE_VM else self.new_space(tid)
            handlers = parent.process.handlers
            process = Process(
                tid, space, handlers if flags & CLONE_SIGHAND else handlers.copy(), watches_maps=process.watches_maps
            )
        thread = self.new_thread(tid, process)
        thread.hidden_mask = parent.hidden_mask
        if process.space is not parent.space:
            process.space.mm = parent.space.mm.fork(process.space)
            process.space.cpuid_sites = set(parent.space.cpuid_sites)
        if process is not parent.process:
            self.delivery.on_fork(parent.process, process)
        else:
            self.delivery.on_clone(parent, thread)
        try:
            status = self._early.pop(tid, None)
            if status is None:
                status = wait_for(thread)
            thread.stopped = True
            if process.space is not parent.space:
                process.space.open_memory(tid)
                self._hide_enclaves(thread)
        except (ThreadGone, ProcessLookupError) as gone:
            self._ended(tid, gone.status if isinstance(gone, ThreadGone) else 0)
            parent.resume()
            return
        if parent.pinned and parent.free_affinity:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(tid, parent.free_affinity)
        thread.started = True
        if status >> 16 == ptrace.Event.STOP and status >> 8 & 0xFF == signal.SIGTRAP:
            thread.resume()
        else:
            self._deferred.append((thread, status))
        parent.resume()

    def _hide_enclaves(self, thread: Thread) -> None:
        """A forked child keeps the addresses of its parent's enclaves, but no EPC page behind them."""
        thread.fetch()
        for start, end in thread.space.mm.enclave_ranges():
            inject(thread, NR["mmap"], start, end - start, 0, 0x32, -1, 0)  # PRIVATE | FIXED | ANONYMOUS

    def _exec(self, thread: Thread) -> None:
        former = self.threads.get(ptrace.event_message(thread.tid))
        process = thread.process
        for other in list(process.threads.values()):
            if other is not thread:
                self._forget(other)
        if former is not None and former is not thread:
            thread.hidden_mask = former.hidden_mask
        if thread.mode.enclave:
            shut_down(thread)
        old = process.space
        process.handlers = SignalHandlers()
        process.space = self.new_space(thread.tid)
        self.delivery.on_exec(process)
        if not any(t.space is old for t in self.threads.values()):
            old.close_memory()
            self.kernel.mm_gone(old.mm)
            self.release_unreferenced()
        thread.on_syscall_exit = None
        thread.frame_patch = None
        self._after_exec(thread)

    def _after_exec(self, thread: Thread) -> None:
        """Give the new image our vDSO; the thread is at its exec event."""
        ptrace.ptrace(ptrace.SYSCALL, thread.tid, 0, 0)
        while wait_for(thread) >> 8 & 0xFF != signal.SIGTRAP | ptrace.SYSCALL_STOP:
            ptrace.ptrace(ptrace.SYSCALL, thread.tid, 0, 0)
        thread.fetch()
        thread.space.open_memory(thread.tid)
        if thread.hidden_mask:
            thread.hidden_mask = 0
        try:
            exec_image.install(thread, self.image, VDSO_BASE, VDSO_AREA)
        except (OSError, exec_image.NoVdso) as error:
            if ptrace.stopped(thread.tid):
                self.message(f"process {thread.process.tgid} cannot be run: {error}")
                os.kill(thread.tid, signal.SIGKILL)
            return
        cpuid.patch_program(self, thread)
        thread.regs.orig_rax = ptrace.NO_SYSCALL
        thread.store()
        thread.resume()

    # Doing things in other threads.

    def inject_in(self, space: AddressSpace, nr: int, *arguments: int) -> int:
        """A system call in any thread of `space`: the one at hand, else one that is stopped for the purpose."""
        thread = self.current
        if thread is not None and thread.space is space and thread.stopped:
            return inject(thread, nr, *arguments)
        results: list[int] = []
        for other in list(self.threads.values()):
            if not results and other.space is space and other.started:
                self.with_halted(other, lambda halted: results.append(inject(halted, nr, *arguments)))
        return results[0] if results else 0

    def _halt(self, thread: Thread) -> None:
        if not thread.stopped:
            ptrace.ptrace(ptrace.INTERRUPT, thread.tid, 0, 0)
            status = wait_for(thread)
            while status >> 16 == ptrace.Event.STOP and self._has_raised(thread):
                ptrace.ptrace(ptrace.CONT, thread.tid, 0, 0)
                status = wait_for(thread)
            thread.stopped = True
            thread.halt_status = self._undo_exception(thread, status)

    @staticmethod
    def _has_raised(thread: Thread) -> bool:
        """The kernel stops a thread for us before it reports an exception that the thread has just raised."""
        queued = ptrace.queued_signals(thread.tid) & SYNCHRONOUS
        return bool(queued and queued & ~ptrace.signal_mask(thread.tid))

    def _undo_exception(self, thread: Thread, status: int) -> int:
        """Take a thread back to before the instruction whose exception or call stopped it; it will come here again."""
        regs = thread.fetch()
        signo = status >> 8 & 0xFF
        if status >> 16 == ptrace.Event.SECCOMP:
            regs.rip -= 2
            regs.rax, regs.orig_rax = regs.orig_rax, ptrace.NO_SYSCALL
            thread.store()
            return INTERRUPTED
        if status >> 16 or signo not in signals.SYNCHRONOUS_SIGNALS:
            return status
        self._info.get(thread.tid)
        fault = exception_of(thread, signo, self._info)
        if fault is None or fault.vector == Vector.DB:
            return status
        if fault.vector == Vector.BP:
            regs.rip -= 1
            thread.store()
        return INTERRUPTED

    def _unhalt(self, thread: Thread) -> None:
        status, thread.halt_status = thread.halt_status, None
        if status is None:
            return
        if status >> 16 == ptrace.Event.STOP and status >> 8 & 0xFF == signal.SIGTRAP:
            thread.resume()
        else:
            self._deferred.append((thread, status))

    def with_halted(self, thread: Thread, action: Callable[[Thread], None]) -> None:
        """Do something to a thread that may be running."""
        try:
            self._halt(thread)
            action(thread)
            self._unhalt(thread)
        except ThreadGone as gone:
            self._ended(gone.tid, gone.status)
        except ProcessLookupError:
            self._note_lost(thread)

    # linux.interfaces.Processors

    def kick(self, encl: Encl) -> None:
        """The inter-processor interrupt: every other processor in this enclave leaves it by an AEX."""
        secs = encl.secs
        if secs is None:
            return
        for thread in list(self.threads.values()):
            if thread is self.current or not thread.mode.enclave or thread.mode.eid != secs.eid:
                continue
            self.with_halted(thread, self._interrupt)

    def _interrupt(self, thread: Thread) -> None:
        """AEX by an interrupt; a SYSCALL that has just stopped the thread will be met again after ERESUME."""
        status = thread.halt_status or 0
        regs = thread.regs
        if status >> 16 == 0 and status >> 8 & 0xFF == signal.SIGTRAP | ptrace.SYSCALL_STOP:
            regs.rip -= 2
            regs.rax = regs.orig_rax
            regs.orig_rax = ptrace.NO_SYSCALL
            thread.halt_status = INTERRUPTED
        exceptions.interrupt(self, thread)

    def release_unreferenced(self) -> None:
        """Free enclaves that no process maps and whose device file no process has open."""
        candidates = [e for e in self.kernel.enclaves() if not e.mms]
        if not candidates:
            return
        open_files = set()
        for pid in {t.process.tgid for t in self.threads.values()}:
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        stat = os.stat(f"/proc/{pid}/fd/{name}")
                        open_files.add((stat.st_dev, stat.st_ino))
        for encl in candidates:
            if self.interceptor.file_of(encl) not in open_files:
                self.interceptor.forget(encl)
                self.kernel.release(encl)

    def emulate_cpuid(self, thread: Thread) -> bool:
        """True if the thread stood at a CPUID instruction that was patched, and has been resumed."""
        return cpuid.emulate(self, thread)

    def warn_ptrace(self, thread: Thread) -> None:
        """Say once why a debugger or tracer inside the run fails."""
        if not self._warned_ptrace:
            self._warned_ptrace = True
            self.message(f"process {thread.process.tgid} calls ptrace(2): a traced program cannot trace; it gets EPERM")

    def message(self, text: str) -> None:
        print(f"enclu: {text}", file=sys.stderr, flush=True)
