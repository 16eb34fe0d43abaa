"""What a decode child may not do: limits of the kernel on itself, taken on before it reads a file.

Only the standard library: calls to `prctl` go through ctypes. Nothing here can be undone by the
process that called it.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
from dataclasses import dataclass

from server.syscall_filter import SyscallFilter, compile_filter

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_M_ARENA_MAX = -8


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What one child may use.

    Attributes:
        memory_bytes: Address space beyond what the child has when it starts.
        cpu_s: Seconds of computing; past it the kernel ends the child.
        file_bytes: Largest file it may write.
        n_files: Open files and sockets, beyond which an open fails.
        spare_memory_bytes: Address space the child may add by itself for files it maps.
    """

    memory_bytes: int = 1_200_000_000
    cpu_s: int = 600
    file_bytes: int = 4 * 2**30
    n_files: int = 64
    spare_memory_bytes: int = 6 * 2**30


class SandboxUnavailable(OSError):
    """The kernel refused a limit."""


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the parent ends; end now if it has ended already.

    Raises:
        SandboxUnavailable: The kernel refused.
        SystemExit: The parent is gone.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit(0)


def limit_memory_arenas(n_arenas: int = 2) -> None:
    """Keep the C library from reserving 64 MB of address space for each thread."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, n_arenas)


def address_space_bytes() -> int:
    """Size of this process's address space."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def enter(limits: ChildLimits) -> None:
    """Take on every limit; the caller's threads, files and memory so far stay.

    Raises:
        SandboxUnavailable: The kernel refused one of them.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    own = address_space_bytes()
    memory = (own + limits.memory_bytes, own + limits.memory_bytes + limits.spare_memory_bytes)
    _limit(resource.RLIMIT_AS, *memory)
    _limit(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 5)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, limits.n_files)
    _limit(resource.RLIMIT_CORE, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit then fails with EFBIG
    install_filter()


def allow_mapped(n_bytes: int) -> None:
    """Let a child map files of this size beside its memory, within `spare_memory_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_AS, (min(hard, soft + n_bytes), hard))


def install_filter() -> bool:
    """Refuse the system calls of `syscall_filter`; False on a machine it has no numbers for.

    Raises:
        SandboxUnavailable: The kernel refused the filter.
    """
    compiled = compile_filter(platform.machine())
    if compiled is None:
        return False
    _load(compiled)
    return True


def _load(compiled: SyscallFilter) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    program = Program(compiled.n_instructions, compiled.code)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


def _limit(which: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, never above what the process has been given."""
    _, ceiling = resource.getrlimit(which)
    hard = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))


def _prctl(option: int, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    padding = [ctypes.c_ulong(0)] * (4 - len(given))
    if libc.prctl(option, *given, *padding) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise SandboxUnavailable(number, f"prctl {option}: {os.strerror(number)}")
