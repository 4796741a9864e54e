"""Which file to execute, and why one cannot be."""

from __future__ import annotations

import errno
import os
import stat
import struct

ELF_CLASS64, EM_X86_64, EM_386 = 2, 62, 3
PT_INTERP = 3


class LaunchError(Exception):
    """The program cannot be run; `status` is the exit code a shell would give (127 not found, 126 otherwise)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def find(program: str) -> str:
    """The file to execute for `program`, found as a shell would.  Raises LaunchError."""
    if not program:
        raise LaunchError(127, "the name of the program is empty")
    path = program if "/" in program else _in_path(program)
    if path is None:
        here = f"; did you mean ./{program}?" if os.path.isfile(program) else ""
        raise LaunchError(127, f"{program}: not found in PATH{here}")
    try:
        status = os.stat(path)
    except OSError as error:
        code = 127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126
        raise LaunchError(code, f"{path}: {'no such file' if code == 127 else error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise LaunchError(126, f"{path}: is a directory")
    if not stat.S_ISREG(status.st_mode):
        raise LaunchError(126, f"{path}: not a regular file")
    if not os.access(path, os.X_OK):
        if os.statvfs(path).f_flag & os.ST_NOEXEC:
            raise LaunchError(126, f"{path}: is on a file system mounted noexec; run a copy from elsewhere")
        raise LaunchError(126, f"{path}: not executable (chmod +x it?)")
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise LaunchError(126, f"{path}: is setuid or setgid, and a traced program cannot gain privileges; "
                          "run a copy without the bit")  # fmt: skip
    try:
        with open(path, "rb") as file:
            _check_format(path, file.read(64))
    except OSError:
        raise LaunchError(126, f"{path}: not readable, and enclu must see into the programs that it runs "
                          "(chmod +r it, or run a copy)") from None  # fmt: skip
    return path


def _in_path(program: str) -> str | None:
    """The first file of this name that can be executed."""
    search = os.environ.get("PATH", os.defpath)
    for directory in search.split(os.pathsep) if search else ():
        path = os.path.join(directory, program)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def _check_format(path: str, head: bytes) -> None:
    """Raises LaunchError for what exec would refuse or another machine's processor run."""
    if head[:2] == b"#!":
        return
    if not head:
        raise LaunchError(126, f"{path}: an empty file")
    if head[:4] != b"\x7fELF":
        raise LaunchError(126, f"{path}: neither an ELF program nor a script with a #! line; "
                          f"if it is a shell script: enclu run sh {path}")  # fmt: skip
    if len(head) < 64:
        raise LaunchError(126, f"{path}: an ELF file cut short, of {len(head)} bytes")
    machine = int.from_bytes(head[18:20], "little")
    if head[4] != ELF_CLASS64 or machine != EM_X86_64:
        what = "a 32-bit program" if machine == EM_386 or head[4] != ELF_CLASS64 else "a program for another processor"
        raise LaunchError(126, f"{path}: {what}; enclu runs x86-64 programs only")


def why_not_executed(path: str, error: OSError) -> str:
    """What to say about a failed exec."""
    if error.errno in (errno.ENOENT, errno.EACCES, errno.ELOOP):
        interpreter = interpreter_of(path)
        if interpreter and not os.path.exists(interpreter):
            return f"{path}: its interpreter {interpreter} does not exist"
        if interpreter and not os.access(interpreter, os.X_OK):
            return f"{path}: its interpreter {interpreter} is not executable"
    if error.errno == errno.ENOEXEC:
        return f"{path}: damaged, or not a program for this kernel ({error.strerror})"
    return f"{path}: cannot be executed: {error.strerror}"


def interpreter_of(path: str) -> str | None:
    """What a script's #! line or an ELF program's PT_INTERP names."""
    with open(path, "rb") as file:
        head = file.read(4096)
        if head[:2] == b"#!":
            words = head[2:].split(b"\n")[0].split()
            return os.fsdecode(words[0]) if words else None
        offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
        for i in range(count):
            file.seek(offset + i * size)
            header = file.read(56)
            if len(header) == 56 and int.from_bytes(header[:4], "little") == PT_INTERP:
                at, length = struct.unpack_from("<Q", header, 8)[0], struct.unpack_from("<Q", header, 32)[0]
                file.seek(at)
                return os.fsdecode(file.read(min(length, 4096)).rstrip(b"\0"))
    return None
