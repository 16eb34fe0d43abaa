"""A seccomp filter, written by hand: which system calls a decode child may not make.

Network, new programs, other processes and the kernel's rarer doors are refused with "not
permitted"; everything else stays as it is, so that decoders work unchanged.
"""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_IF_ABOVE = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_JUMP_IF_BITS = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06

_KILL = 0x8000_0000
_ERRNO = 0x0005_0000
_ALLOW = 0x7FFF_0000

_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x4000_0000
_CLONE_VM = 0x100

_X86_64 = {
    "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "bind": 49, "listen": 50,
    "socketpair": 53, "vfork": 58, "fork": 57, "execve": 59, "kill": 62, "ptrace": 101,
    "mknod": 133, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167,
    "reboot": 169, "init_module": 175, "tkill": 200, "kexec_load": 246, "add_key": 248,
    "request_key": 249, "keyctl": 250, "mknodat": 259, "unshare": 272, "accept4": 288,
    "rt_tgsigqueueinfo": 297, "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "bpf": 321,
    "execveat": 322, "userfaultfd": 323, "pidfd_send_signal": 424, "io_uring_setup": 425,
    "io_uring_enter": 426, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_open": 434,
    "pidfd_getfd": 438, "process_madvise": 440, "rt_sigqueueinfo": 129,
}  # fmt: skip
_AARCH64 = {
    "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97,
    "kexec_load": 104, "init_module": 105, "ptrace": 117, "kill": 129, "tkill": 130,
    "rt_sigqueueinfo": 138, "reboot": 142, "socket": 198, "socketpair": 199, "bind": 200,
    "listen": 201, "accept": 202, "connect": 203, "sendto": 206, "add_key": 217,
    "request_key": 218, "keyctl": 219, "execve": 221, "swapon": 224, "rt_tgsigqueueinfo": 240,
    "perf_event_open": 241, "accept4": 242, "open_by_handle_at": 265, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "bpf": 280,
    "execveat": 281, "userfaultfd": 282, "pidfd_send_signal": 424, "io_uring_setup": 425,
    "io_uring_enter": 426, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_open": 434,
    "pidfd_getfd": 438, "process_madvise": 440,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Machine:
    """How one kind of processor numbers its calls."""

    audit_number: int
    refused: Mapping[str, int]
    clone: int
    clone3: int = 435


_MACHINES = {
    "x86_64": _Machine(0xC000_003E, _X86_64, clone=56),
    "aarch64": _Machine(0xC000_00B7, _AARCH64, clone=220),
}


@dataclass(frozen=True, slots=True)
class SyscallFilter:
    """A program for the kernel.

    Attributes:
        code: Its instructions, eight bytes each.
    """

    code: bytes

    @property
    def n_instructions(self) -> int:
        """How many instructions it has."""
        return len(self.code) // 8


def compile_filter(machine: str) -> SyscallFilter | None:
    """The filter for a kind of processor, None where the numbers are not known here."""
    known = _MACHINES.get(machine)
    if known is None:
        return None
    instructions = [*_check_architecture(known), *_refuse_clones(known)]
    for number in sorted(known.refused.values()):
        instructions += [(_JUMP_IF_EQUAL, 0, 1, number), _refusal(errno.EPERM)]
    instructions.append((_RETURN, 0, 0, _ALLOW))
    return SyscallFilter(b"".join(struct.pack("=HBBI", *line) for line in instructions))


_Instruction = tuple[int, int, int, int]


def _check_architecture(machine: _Machine) -> list[_Instruction]:
    """Numbers of another architecture would mean other calls: such a process is killed."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, machine.audit_number),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_ABOVE, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
    ]


def _refuse_clones(machine: _Machine) -> list[_Instruction]:
    """Threads may start, processes may not; `clone3` is unknown, so that libc takes `clone`."""
    return [
        (_JUMP_IF_EQUAL, 0, 1, machine.clone3),
        _refusal(errno.ENOSYS),
        (_JUMP_IF_EQUAL, 0, 4, machine.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_BITS, 1, 0, _CLONE_VM),
        _refusal(errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]


def _refusal(error_number: int) -> _Instruction:
    return (_RETURN, 0, 0, _ERRNO | error_number)
