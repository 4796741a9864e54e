"""Requests to a run from outside: to the supervisor of a process, by whoever may send it signals.

A run that nobody asks anything has no socket to listen at, and waits for its tracees alone.  Who asks listens, under
a name that the supervisor's number makes, and sends it a signal; it connects as soon as nobody is at work.  Both
look whom they have met: the one must be the supervisor, the other of its user, or root.  A request is a message of
JSON with the descriptors that it is about; so is the answer, without.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from enclu.native import proc

if TYPE_CHECKING:
    from enclu.run.supervisor import Supervisor

PATIENCE = 10.0
"""Seconds within which the other is expected to do its part."""
MOST = 1 << 16
"""Bytes of a message."""
_CREDENTIALS = struct.Struct("<3i")


class Refused(Exception):
    """The request cannot be made, or has been refused; the words are for the user."""


def supervisor_of(pid: int, signo: int = signal.SIGPWR) -> int | None:
    """Who supervises a process: it traces it, and has a handler for SIGPWR, as no debugger has.

    Raises FileNotFoundError, ProcessLookupError, ProcUnusable.
    """
    tracer = int(proc.status(pid)["TracerPid"])
    caught = int(proc.status(tracer)["SigCgt"], 16) if tracer else 0
    wanted = 1 << signal.SIGPWR - 1 | 1 << signo - 1
    return tracer if caught & wanted == wanted else None


def _name(supervisor: int) -> bytes:
    """An abstract address: no directory that both must see, and nothing to clear away."""
    return b"\0enclu-" + str(supervisor).encode()


# Who asks.


def ask(pid: int, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> dict[str, Any]:
    """What the supervisor of this process answers.  Raises Refused."""
    try:
        supervisor = supervisor_of(pid, proc.REQUEST)
        if supervisor is None:
            raise Refused(f"process {pid} is not under `enclu run`")
        numbers = proc.status(supervisor)["NSpid"].split()
        # The process and its supervisor know each other by the numbers of the supervisor's namespace.
        target = int(proc.status(pid)["NSpid"].split()[len(numbers) - 1])
        return _asked(supervisor, int(numbers[-1]), {**request, "pid": target}, descriptors)
    except proc.ProcUnusable as error:
        raise Refused(str(error)) from None
    except proc.GONE:
        raise Refused(f"there is no process {pid}") from None
    except PermissionError:
        raise Refused(f"process {pid} is another user's") from None
    except TimeoutError:
        raise Refused(f"the supervisor of process {pid} does not answer") from None
    except (OSError, ValueError) as error:
        raise Refused(f"the supervisor of process {pid} cannot be asked: {error}") from None


def _asked(supervisor: int, number: int, request: Mapping[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(_name(number))
        except OSError:
            raise Refused("somebody else is asking the same supervisor; try again") from None
        listener.listen(1)
        listener.settimeout(PATIENCE)
        os.kill(supervisor, proc.REQUEST)
        met, _ = listener.accept()
    with met:
        if _peer(met)[0] != supervisor:
            raise Refused("somebody else than the supervisor has answered")
        socket.send_fds(met, [json.dumps(request).encode()], list(descriptors))
        met.settimeout(None)  # a large process takes its time; a supervisor that ends closes its side
        answer = met.recv(MOST)
    if not answer:
        raise Refused("the run has ended meanwhile")
    result: dict[str, Any] = json.loads(answer)
    if "refused" in result:
        raise Refused(str(result["refused"]))
    return result


def _peer(met: socket.socket) -> tuple[int, int]:
    """PID and UID of the process at the other end."""
    pid, uid, _ = _CREDENTIALS.unpack(met.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


# The supervisor.


def answer(sup: Supervisor) -> None:
    """Connect to whoever has asked, and do it.  Whatever is wrong with that is no business of the run."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as met:
        met.settimeout(PATIENCE)
        met.connect(_name(os.getpid()))
        if _peer(met)[1] not in (0, os.geteuid()):
            return
        message, descriptors, _, _ = socket.recv_fds(met, MOST, 4)
        try:
            result = _done(sup, message, descriptors)
        except Refused as why:
            result = {"refused": str(why)}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        met.send(json.dumps(result).encode())


def _done(sup: Supervisor, message: bytes, descriptors: list[int]) -> dict[str, Any]:
    """Raises Refused."""
    try:
        request = json.loads(message)
        what = _REQUESTS[request["request"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("this version of enclu does not know the request") from None
    return what(sup, request, descriptors)


def _core(sup: Supervisor, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
    from enclu.run.cores.live import dump  # seldom needed

    return dump(sup, request, descriptors)


_REQUESTS: dict[str, Callable[[Supervisor, dict[str, Any], list[int]], dict[str, Any]]] = {"core": _core}
