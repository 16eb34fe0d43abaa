"""Limits of decode children, taken on by a real child."""

import json
import os
import platform
import socket
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from server import sandbox
from server.syscall_filter import compile_filter

has_filter = pytest.mark.skipif(
    compile_filter(platform.machine()) is None, reason="no system call numbers for this machine"
)


def in_child(limits: sandbox.ChildLimits, *attempts: Callable[[], object]) -> list[str]:
    """What came of each attempt in a forked child under the limits."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            sandbox.enter(limits)
            os.write(writing, json.dumps([_outcome(attempt) for attempt in attempts]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = json.loads(pipe.read() or '["nothing"]')
    os.waitpid(pid, 0)
    return answer


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except BaseException as error:
        return type(error).__name__
    return "done"


@has_filter
def test_no_network_no_programs_no_other_processes() -> None:
    attempts = (
        socket.socket,
        socket.socketpair,
        lambda: os.execv("/bin/true", ["true"]),
        os.fork,
        lambda: os.kill(os.getppid(), 0),
        lambda: os.chroot("/"),
    )
    assert in_child(sandbox.ChildLimits(), *attempts) == ["PermissionError"] * 6


def test_memory_files_and_descriptors_have_an_end(tmp_path: Path) -> None:
    limits = sandbox.ChildLimits(
        memory_bytes=200_000_000, file_bytes=1000, n_files=40, spare_memory_bytes=400_000_000
    )

    def write() -> None:
        descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
        assert os.write(descriptor, bytes(2000)) == 1000
        os.write(descriptor, bytes(2000))

    def allow_more() -> None:
        sandbox.allow_mapped(10**12)
        bytearray(300_000_000)

    attempts = (
        lambda: bytearray(300_000_000),
        lambda: bytearray(50_000_000),
        write,
        lambda: [os.dup(1) for _ in range(100)],
        allow_more,
    )
    found = in_child(limits, *attempts)
    assert found == ["MemoryError", "done", "OSError", "OSError", "done"]


@has_filter
def test_threads_still_start() -> None:
    import threading

    def start() -> None:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()

    assert in_child(sandbox.ChildLimits(), start) == ["done"]


def test_filters_are_well_formed() -> None:
    for machine in ("x86_64", "aarch64"):
        compiled = compile_filter(machine)
        assert compiled is not None
        lines = list(struct.iter_unpack("=HBBI", compiled.code))
        assert len(lines) == compiled.n_instructions < 4096
        for number, (code, if_true, if_false, _) in enumerate(lines):
            assert code in (0x20, 0x15, 0x35, 0x45, 0x06)
            assert code in (0x20, 0x06) or number + 1 + max(if_true, if_false) < len(lines)
        assert lines[-1] == (0x06, 0, 0, 0x7FFF_0000)
    assert compile_filter("pdp11") is None


def test_children_end_with_their_parent() -> None:
    program = """
        import os, subprocess, sys, time
        code = "import sys; from server import sandbox; sandbox.die_with_parent(int(sys.argv[1]));"
        code += "print('alive', flush=True); sys.stdin.read(); import time; time.sleep(600)"
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(os.getpid())], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        child.stdout.readline()
        print(child.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.wait()
    descriptor = _pidfd(pid)
    if descriptor is not None:
        import select

        assert select.select([descriptor], [], [], 60)[0]
        os.close(descriptor)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def test_an_orphan_ends_at_once() -> None:
    with pytest.raises(SystemExit):
        # The parent it was told of is not its parent any more; ask for the real one to stay.
        _with_signal_reset(lambda: sandbox.die_with_parent(os.getpid()))


def _with_signal_reset(call: Callable[[], None]) -> None:
    try:
        call()
    finally:
        sandbox._prctl(sandbox._PR_SET_PDEATHSIG, 0)
