"""Functions of POSIX and Linux as EDL files declare them, and which of them an OCALL is.

An OCALL is one of them by its name, to which a prefix or suffix may be put as is usual, and by its parameters: as many,
numbers where numbers are, pointers in the same directions.  It may begin with a pointer for errno.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from enclu.host.edl.syntax import Kind, Ocall, Variable

if TYPE_CHECKING:
    from enclu.host.edl.interface import Interface

DESCRIPTOR, DIRECTORY = "fd_t", "dir_fd_t"
"""Types of descriptors; the latter may be AT_FDCWD."""
ROOM, LENGTH = "room", "length"
"""Where C has one socklen_t* that goes both ways, an OCALL has two parameters: the room there is, the length it is."""

FUNCTIONS = """
enclave { untrusted {
    fd_t open([in, string] const char* path, int flags, uint32_t mode);
    fd_t open__2([in, string] const char* path, int flags);
    fd_t open64([in, string] const char* path, int flags, uint32_t mode);
    fd_t open64__2([in, string] const char* path, int flags);
    fd_t openat(dir_fd_t at, [in, string] const char* path, int flags, uint32_t mode);
    fd_t openat__2(dir_fd_t at, [in, string] const char* path, int flags);
    fd_t creat([in, string] const char* path, uint32_t mode);
    int close(fd_t fd);
    ssize_t read(fd_t fd, [out, size=count] void* data, size_t count);
    ssize_t pread(fd_t fd, [out, size=count] void* data, size_t count, off_t offset);
    ssize_t pread64(fd_t fd, [out, size=count] void* data, size_t count, off_t offset);
    ssize_t write(fd_t fd, [in, size=count] const void* data, size_t count);
    ssize_t pwrite(fd_t fd, [in, size=count] const void* data, size_t count, off_t offset);
    ssize_t pwrite64(fd_t fd, [in, size=count] const void* data, size_t count, off_t offset);
    off_t lseek(fd_t fd, off_t offset, int whence);
    off_t lseek64(fd_t fd, off_t offset, int whence);
    int fsync(fd_t fd);
    int fdatasync(fd_t fd);
    int ftruncate(fd_t fd, off_t size);
    int ftruncate64(fd_t fd, off_t size);
    int truncate([in, string] const char* path, off_t size);
    int truncate64([in, string] const char* path, off_t size);
    int unlink([in, string] const char* path);
    int unlinkat(dir_fd_t at, [in, string] const char* path, int flags);
    int rename([in, string] const char* old, [in, string] const char* new);
    int link([in, string] const char* old, [in, string] const char* new);
    int symlink([in, string] const char* target, [in, string] const char* path);
    ssize_t readlink([in, string] const char* path, [out, size=count] char* data, size_t count);
    int mkdir([in, string] const char* path, uint32_t mode);
    int rmdir([in, string] const char* path);
    int chmod([in, string] const char* path, uint32_t mode);
    int fchmod(fd_t fd, uint32_t mode);
    int access([in, string] const char* path, int mode);
    int stat([in, string] const char* path, [out, size=144] void* status);
    int stat64([in, string] const char* path, [out, size=144] void* status);
    int lstat([in, string] const char* path, [out, size=144] void* status);
    int lstat64([in, string] const char* path, [out, size=144] void* status);
    int fstat(fd_t fd, [out, size=144] void* status);
    int fstat64(fd_t fd, [out, size=144] void* status);
    int fcntl(fd_t fd, int command, long argument);
    int fcntl__2(fd_t fd, int command);
    int isatty(fd_t fd);
    fd_t dup(fd_t fd);
    int pipe([out, size=8] int* ends);
    int pipe2([out, size=8] int* ends, int flags);
    fd_t eventfd(unsigned int value, int flags);
    int poll([in, out, size=8, count=n] void* fds, nfds_t n, int timeout);
    fd_t epoll_create1(int flags);
    int epoll_ctl(fd_t epoll, int operation, fd_t fd, [in, size=12] void* event);
    int epoll_wait(fd_t epoll, [out, size=12, count=n] void* events, int n, int timeout);

    fd_t socket(int domain, int type, int protocol);
    int bind(fd_t fd, [in, size=n] const void* address, socklen_t n);
    int listen(fd_t fd, int backlog);
    int connect(fd_t fd, [in, size=n] const void* address, socklen_t n);
    fd_t accept(fd_t fd, [out, size=room] void* address, socklen_t room, [out, size=4] void* length);
    fd_t accept__2(fd_t fd);
    fd_t accept4(fd_t fd, [out, size=room] void* address, socklen_t room, [out, size=4] void* length, int flags);
    ssize_t send(fd_t fd, [in, size=n] const void* data, size_t n, int flags);
    ssize_t sendto(fd_t fd, [in, size=n] const void* data, size_t n, int flags,
        [in, size=m] const void* to, socklen_t m);
    ssize_t recv(fd_t fd, [out, size=n] void* data, size_t n, int flags);
    ssize_t recvfrom(fd_t fd, [out, size=n] void* data, size_t n, int flags,
        [out, size=room] void* address, socklen_t room, [out, size=4] void* length);
    int getsockname(fd_t fd, [out, size=room] void* address, socklen_t room, [out, size=4] void* length);
    int getpeername(fd_t fd, [out, size=room] void* address, socklen_t room, [out, size=4] void* length);
    int getsockopt(fd_t fd, int level, int name, [out, size=room] void* value, socklen_t room,
        [out, size=4] void* length);
    int setsockopt(fd_t fd, int level, int name, [in, size=n] const void* value, socklen_t n);
    int shutdown(fd_t fd, int how);

    time_t time([out, size=8] time_t* now);
    time_t time__2();
    int gettimeofday([out, size=16] void* now, [out, size=8] void* zone);
    int gettimeofday__2([out, size=16] void* now);
    int clock_gettime(int clock, [out, size=16] void* now);
    int clock_getres(int clock, [out, size=16] void* resolution);
    int nanosleep([in, size=16] const void* wanted, [out, size=16] void* remaining);
    unsigned int sleep(unsigned int seconds);
    int usleep(unsigned int microseconds);

    int getpid();
    int getppid();
    unsigned int getuid();
    unsigned int geteuid();
    unsigned int getgid();
    unsigned int getegid();
    int sched_yield();
    long sysconf(int name);
    ssize_t getrandom([out, size=n] void* data, size_t n, unsigned int flags);

    void* malloc(size_t size);
    void* calloc(size_t n, size_t size);
    void free([user_check] void* address);
    int puts([in, string] const char* text);
    int putchar(int character);
}; };
"""
"""A function's second form, with fewer parameters, has __2 behind its name; C gets zeros for the rest."""

_AFFIXES = re.compile(r"^(?:ocall_|u_)?(.+?)(?:_ocall)?$")


@dataclass(frozen=True)
class Prototype:
    """A function, and whether the OCALL has a pointer for errno before its parameters."""

    name: str
    function: Ocall
    errno_first: bool


@functools.cache
def interface() -> Interface:
    from enclu.host import edl

    return edl.parse(FUNCTIONS, "<POSIX>")


@functools.cache
def _by_name() -> dict[str, list[Ocall]]:
    found: dict[str, list[Ocall]] = {}
    for function in interface().ocalls:
        found.setdefault(function.name.removesuffix("__2"), []).append(function)
    return found


def find(ocall: Ocall) -> Prototype | None:
    """Which function the OCALL is; None if it is none of them."""
    match = _AFFIXES.match(ocall.name)
    names = dict.fromkeys([ocall.name, *(match.groups() if match else ())])
    for name in names:
        for function in _by_name().get(name, ()):
            if _alike(ocall.parameters, function.parameters):
                return Prototype(name, function, False)
            first = ocall.parameters[0] if ocall.parameters else None
            if first is not None and _for_errno(first) and _alike(ocall.parameters[1:], function.parameters):
                return Prototype(name, function, True)
    return None


def _for_errno(parameter: Variable) -> bool:
    given = parameter.attributes
    return str(parameter.type) == "int*" and given.out and not given.has_size and parameter.name.startswith("err")


def _alike(given: tuple[Variable, ...], wanted: tuple[Variable, ...]) -> bool:
    return len(given) == len(wanted) and all(map(_fits, given, wanted))


def _fits(given: Variable, wanted: Variable) -> bool:
    if not given.is_pointer or not wanted.is_pointer:
        return given.is_pointer == wanted.is_pointer and given.type.kind not in (Kind.STRUCT, Kind.UNION)
    attributes = given.attributes
    if attributes.user_check:
        return True
    if attributes.sizefunc is not None or attributes.string != wanted.attributes.string:
        return False
    # What goes one way only must go it; what goes both ways serves either.
    return (attributes.into or not wanted.attributes.into) and (attributes.out or not wanted.attributes.out)
