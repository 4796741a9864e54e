"""What `enclu run` does once its options are known.

Every program waits for what is imported here: all that a run needs, no library that parses command lines, and of enclu
no other command.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from enclu.base import console
from enclu.base.listeners import Events
from enclu.cli import report
from enclu.linux import delivery
from enclu.native import cpuid, extended_state
from enclu.run import host_memory, launch
from enclu.run.machine_state import SECRET_SIZE, MachineStateError, secret_of
from enclu.run.program_file import LaunchError, find
from enclu.run.refusals import Refusals
from enclu.run.supervisor import Supervisor
from enclu.sgx.encls.svn import SvnUpdate
from enclu.sgx.machine import Machine

if TYPE_CHECKING:
    from enclu.linux.intel_cpu import Cpuid
    from enclu.linux.stats import Stats
    from enclu.run.gdb.session import Gdb
    from enclu.trace.tracer import Tracer, Wanted

DESIGN, CPU = "vdso", "host"
"""What --delivery and --cpu are if they are not given."""


def start(
    program: str, arguments: Sequence[str], *, design: str = DESIGN, epc: int | None = None,
    machine_name: str | None = None, secret_fd: int | None = None, stats: str | None = None, quiet: bool = False,
    cpu: str = CPU, svn_update: str = "none", pin: bool = True, fast_path: bool = True, trace: Wanted | None = None,
    cores: tuple[str, str] | None = None, gdb: Gdb | None = None, stepping: bool = False,
) -> int:  # fmt: skip
    """Become the program.  Returns, with the exit status, only where that cannot be; the reason has been told.

    `cores`: the directory for them, and whose pages are in them.
    """
    try:
        path = find(program)
        epc = host_memory.default_epc() if epc is None else epc
        secret = secret_of(machine_name) if machine_name is not None else None
        if secret_fd is not None:
            secret = _read_secret(secret_fd)
        machine = Machine(epc, secret, extended_state.layout())
        machine.svn_update = SvnUpdate(svn_update)
        events = Events()
        if not quiet:
            Refusals(events, console.offer)
        processor: Cpuid = cpuid.host
        if cpu != CPU:
            from enclu.linux import intel_cpu

            processor = intel_cpu.of(processor)
        supervisor = Supervisor(
            machine, delivery.create(design), events, pin=pin, processor=processor,
            in_process=fast_path and gdb is None, stepping=stepping,
        )  # fmt: skip
        if stats:
            from enclu.linux.stats import Stats

            counters = Stats(events, machine.epc)
            supervisor.at_end = functools.partial(_tell, supervisor, counters, stats)
        keep: tuple[int, ...] = ()
        if cores is not None:
            from enclu.run.cores.dump import Cores, Enclaves, directory

            try:
                keep = (directory(cores[0]),)
            except OSError as error:
                console.say(f"no cores can be written to {cores[0]}: {error.strerror}")
                return 125
            supervisor.cores = Cores(supervisor, *keep, cores[0], Enclaves(cores[1]))
        supervise: Callable[[int], None] = functools.partial(
            report.supervise, supervisor, subreaper=launch.is_subreaper()
        )
        if gdb is not None:
            supervise = gdb.wait(supervisor, supervise)
            keep = (*keep, gdb.listener.fileno())
        if trace is None:
            launch.start(path, [program, *arguments], supervise, keep)
        from enclu.trace.forms import Missing
        from enclu.trace.tracer import Tracer

        try:
            tracer = Tracer(trace, [program, *arguments], design)
        except Missing as error:
            console.say(str(error))
            return 125
        except OSError as error:
            console.say(f"cannot write the {trace.what} to {trace.output}: {error.strerror}")
            return 125
        traced = functools.partial(_traced, supervisor, tracer, supervise)
        launch.start(path, [program, *arguments], traced, (*tracer.keep, *keep))
    except LaunchError as error:
        console.say(str(error))
        return error.status
    except MachineStateError as error:
        console.say(str(error))
        return 125


def _traced(supervisor: Supervisor, tracer: Tracer, supervise: Callable[[int], None], pid: int) -> None:
    """Supervise, and have what happens traced."""
    tracer.listen(supervisor.events)
    at_end = supervisor.at_end

    def flush() -> None:
        tracer.flush()
        if at_end is not None:
            at_end()

    supervisor.at_end = flush  # who waits for the program finds its trace written
    supervise(pid)
    tracer.end()


def _tell(supervisor: Supervisor, counters: Stats, style: str) -> None:
    transitions = supervisor.transitions
    transitions.count()
    report.stats(counters.as_dict(), transitions.in_process(), transitions.by_stops(), style)


def _read_secret(fd: int) -> bytes:
    """Raises MachineStateError."""
    try:
        secret = os.read(fd, SECRET_SIZE)
        os.close(fd)
    except OSError as error:
        raise MachineStateError(f"--secret-fd {fd}: {error.strerror}") from None
    if len(secret) != SECRET_SIZE:
        raise MachineStateError(f"--secret-fd {fd}: {len(secret)} bytes instead of {SECRET_SIZE}")
    return secret
