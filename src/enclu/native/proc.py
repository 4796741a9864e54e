"""/proc of the supervisor's own PID namespace, through a handle.

Threads have the numbers that ptrace(2) and waitpid(2) give them: those of the supervisor's PID namespace.  In the /proc
of another the same numbers are strangers.  So it is made sure once whose /proc this is, and everything is opened
through that directory from then on, whatever the program mounts over it.  Kernel: fs/proc/self.c, fs/proc/array.c.
"""

from __future__ import annotations

import errno
import functools
import os
import signal

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
REQUEST = signal.SIGRTMIN
"""Sent to the supervisor of a run by who wants to ask it something (`run.control`)."""
_AT_ONCE = 1 << 16
"""Bytes read of a file here: most are shorter."""
_MOUNT = "mount -t proc proc /proc"


class ProcUnusable(Exception):
    """Programs cannot be looked into by this /proc; `repair` is the way out."""

    def __init__(self, reason: str, repair: str = _MOUNT) -> None:
        super().__init__(f"{reason}; enclu needs that of its own PID namespace: {repair}")
        self.reason, self.repair = reason, repair


def check() -> None:
    """Whether /proc is there, and this process's own.  Raises ProcUnusable."""
    os.close(_own())


@functools.cache
def _handle() -> int:
    return _own()


def _own() -> int:
    try:
        directory = os.open("/proc", _DIRECTORY)
    except OSError as error:
        raise ProcUnusable(f"/proc: {error.strerror}") from None
    try:
        _make_sure(directory)
    except BaseException:
        os.close(directory)
        raise
    return directory


def _make_sure(directory: int) -> None:
    """Status lists the numbers of a process from the namespace that /proc is of to the one that the process is in."""
    try:
        numbers = _fields("self/status", directory).get("NSpid", str(os.getpid())).split()
        os.close(os.open("self/mem", os.O_RDWR | os.O_CLOEXEC, dir_fd=directory))
    except OSError as error:
        if error.errno != errno.ENOENT or not _has_entry(directory, "self"):
            raise ProcUnusable(f"/proc/self: {error.strerror}") from None
        numbers = []  # a link that leads nowhere: this process does not exist there
    if numbers != [str(os.getpid())]:
        raise ProcUnusable(
            "/proc is of another PID namespace",
            f"unshare --mount-proc, or `{_MOUNT}` in a mount namespace that others do not share",
        )


def _has_entry(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def _content(path: str, directory: int) -> bytes:
    """Without Python's file objects, which take longer to make than such a file to read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return b"".join(iter(functools.partial(os.read, fd, _AT_ONCE), b""))
    finally:
        os.close(fd)


def _lines(path: str, directory: int) -> list[str]:
    return _decoded(_content(path, directory)).split("\n")[:-1]  # each ends with one


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")  # names of programs and files are any bytes


def _fields(path: str, directory: int) -> dict[str, str]:
    """Of a file whose lines are names and values."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in _lines(path, directory))}


# Of a thread.  All raise OSError: one of GONE for one that is gone.

GONE = (FileNotFoundError, ProcessLookupError)


def content(tid: int, name: str) -> bytes:
    """A file of the thread's, whole."""
    return _content(f"{tid}/{name}", _handle())


def text(tid: int, name: str) -> str:
    """The same as text."""
    return _decoded(content(tid, name))


def lines(tid: int, name: str) -> list[str]:
    """The same, line by line."""
    return _lines(f"{tid}/{name}", _handle())


def status(tid: int) -> dict[str, str]:
    """Fields of /proc/TID/status."""
    return fields(tid, "status")


def fields(tid: int, name: str) -> dict[str, str]:
    """A file of the thread's whose lines are names and values."""
    return _fields(f"{tid}/{name}", _handle())


def signal_masks(tid: int) -> tuple[int, int, int]:
    """Bit n-1 for signal n: those that wait for the thread, those for its process, and those that it has blocked."""
    status = text(tid, "status")
    own, shared, blocked = (status.partition(f"\n{name}:")[2][:17] for name in ("SigPnd", "ShdPnd", "SigBlk"))
    return int(own, 16), int(shared, 16), int(blocked, 16)


def comm(tid: int) -> str:
    """What the thread is called; empty for one that is gone.  prctl(PR_SET_NAME): any bytes."""
    try:
        return text(tid, "comm").removesuffix("\n")
    except GONE:
        return ""


def stat(tid: int) -> list[str]:
    """Fields of /proc/TID/stat, from the state on."""
    return text(tid, "stat").rpartition(")")[2].split()


def is_dead(tid: int) -> bool:
    """This process has seen the thread's end; its real parent may have to yet."""
    try:
        return stat(tid)[0] in ("Z", "X")
    except GONE:
        return True


def parent(pid: int) -> int:
    """The process's parent; 0 for one that has none in this PID namespace."""
    return int(stat(pid)[1])


NO_CALL = -1
"""No system call, or none that the thread waits in."""


def system_call(tid: int) -> int:
    """The system call that the thread waits in, or NO_CALL (/proc/TID/syscall)."""
    number = text(tid, "syscall").split()[0]
    return NO_CALL if number == "running" else int(number)


def follow(tid: int, name: str, flags: int) -> int:
    """Open what the thread has under the name: a descriptor of it, fd/N, or a file about it."""
    return os.open(f"{tid}/{name}", flags | os.O_CLOEXEC, dir_fd=_handle())


def owner(tid: int, name: str) -> int:
    """The user to whom a file about the thread belongs: root, of one that may not be looked at."""
    return os.stat(f"{tid}/{name}", dir_fd=_handle()).st_uid


def file_of(tid: int, fd: int) -> tuple[int, int]:
    """st_dev and st_ino behind a descriptor of the thread's."""
    return identity(os.stat(f"{tid}/fd/{fd}", dir_fd=_handle()))


def identity(found: os.stat_result) -> tuple[int, int]:
    """st_dev and st_ino."""
    return found.st_dev, found.st_ino


def same_file(tid: int, name: str, other: int) -> bool:
    """Whether two threads have the same under the name: root, cwd or a namespace."""
    mine, theirs = (os.stat(f"{each}/{name}", dir_fd=_handle()) for each in (tid, other))
    return identity(mine) == identity(theirs)


def descriptors(tid: int) -> list[int]:
    """The thread's open descriptors; none of a thread that is gone, or hides them."""
    try:
        directory = follow(tid, "fd", os.O_RDONLY | os.O_DIRECTORY)
    except (*GONE, PermissionError):
        return []
    try:
        return [int(name) for name in os.listdir(directory)]
    finally:
        os.close(directory)


def name_of(tid: int, name: str) -> str:
    """The path behind cwd or fd/N of the thread."""
    return os.readlink(f"{tid}/{name}", dir_fd=_handle())


def namespace(tid: int, name: str) -> int:
    """Which namespace of the kind the thread is in, or its children will be."""
    return os.stat(f"{tid}/ns/{name}", dir_fd=_handle()).st_ino


def memory(tid: int) -> int:
    """The memory of a thread that this process traces, to read and write.  PermissionError where that is hidden."""
    directory = os.open(str(tid), _DIRECTORY, dir_fd=_handle())
    try:
        if _fields("status", directory)["TracerPid"] != str(os.getpid()):
            raise ProcessLookupError(errno.ESRCH, f"thread {tid} is not one that enclu traces")
        return os.open("mem", os.O_RDWR | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)


def is_called(tid: int, number: int, asker: int) -> bool:
    """Whether the thread has this number in the PID namespace that it and the asker are both in."""
    try:
        return namespace(tid, "pid") == namespace(asker, "pid") and status(tid)["NSpid"].split()[-1] == str(number)
    except OSError:
        return False


def is_seen_by(tid: int) -> bool:
    """The thread's /proc is this one, not one mounted since in its mount namespace."""
    try:
        return os.stat(f"{tid}/root/proc", dir_fd=_handle()).st_dev == os.fstat(_handle()).st_dev
    except OSError:
        return False
