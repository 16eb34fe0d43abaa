"""Decode children as the model process sees them: run a task, watch it, know how it ended."""

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preprocessing.types import Progress, no_progress
from server.child_channel import ChannelAbused, read_messages
from server.failures import JobCanceled, JobFailed
from server.sandbox import ChildLimits
from server.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_S = 0.1
_EXIT_S = 5.0
_MAX_MESSAGE_BYTES = 65_536
MAX_TRIES = 3


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How children are run.

    Attributes:
        n_children: At one time.
        detector: Name of the face detector.
        limits: What each may use.
        timeout_s: How long each may take.
        start_timeout_s: How long a task waits for a zygote.
        log_level: Of their lines on stderr.
    """

    n_children: int = 2
    detector: str = "embedded"
    limits: ChildLimits = field(default_factory=ChildLimits)
    timeout_s: float = 600.0
    start_timeout_s: float = 120.0
    log_level: str = "INFO"


def pool_config(settings: Settings) -> PoolConfig:
    """How children are run by these settings."""
    limits = ChildLimits(
        memory_bytes=settings.decode_memory_bytes,
        cpu_s=settings.decode_cpu_s,
        file_bytes=settings.decode_file_bytes,
    )
    return PoolConfig(
        n_children=settings.decode_children,
        detector=settings.detector,
        limits=limits,
        timeout_s=settings.decode_timeout_s,
        log_level=settings.log_level,
    )


class ChildLost(Exception):
    """A child was ended from outside, or its zygote was: the task can be done again."""


@dataclass(slots=True)
class _Zygote:
    """One running zygote and who waits for which child."""

    child: subprocess.Popen[bytes]
    control: socket.socket
    is_ready: threading.Event = field(default_factory=threading.Event)
    is_gone: threading.Event = field(default_factory=threading.Event)
    exits: dict[int, "queue.SimpleQueue[int]"] = field(default_factory=dict)


class DecodePool:
    """Runs tasks in children of a zygote; starts another zygote when one dies.

    `start` and `tend` belong to one thread that lives as long as the pool: the kernel ends the
    zygote with the thread that started it.

    Attributes:
        on_exit: Told how each child ended, for counting.

    Args:
        config: How.
    """

    def __init__(self, config: PoolConfig) -> None:
        """Start nothing yet."""
        self._config = config
        self.on_exit: Callable[[str], None] = lambda reason: None
        self._slots = threading.BoundedSemaphore(config.n_children)
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._n_tasks = 0
        self._n_starts = 0
        self._not_before_s = 0.0
        self.exits: Counter[str] = Counter()

    @property
    def is_ready(self) -> bool:
        """Whether a task would start at once."""
        zygote = self._zygote
        return zygote is not None and zygote.is_ready.is_set() and not zygote.is_gone.is_set()

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote."""
        return None if self._zygote is None else self._zygote.child.pid

    def tend(self) -> None:
        """Start a zygote where there is none; with a growing pause if they die at once."""
        zygote = self._zygote
        if zygote is not None and not zygote.is_gone.is_set():
            return
        if zygote is not None:
            self._bury(zygote)
        if time.monotonic() >= self._not_before_s:
            self._n_starts += 1
            self._zygote = self._start()

    def run(
        self,
        task: str,
        folder: Path,
        options: Mapping[str, Any],
        progress: Progress = no_progress,
        is_canceled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Do a task of `child_tasks` in a child of its own; again if it was killed from outside.

        Raises:
            JobFailed: The task failed, or the child died of the file, with a public code.
            JobCanceled: `is_canceled` became true; the child is gone.
        """
        with self._slot(is_canceled):
            for _ in range(MAX_TRIES):
                try:
                    return self._run_once(task, folder, options, progress, is_canceled)
                except ChildLost as error:
                    logger.warning("task %s: %s", task, error)
        raise JobFailed("worker_lost", "the process that reads the file was killed every time")

    def close(self) -> None:
        """End the zygote and every child."""
        if self._zygote is not None:
            self._bury(self._zygote)
            self._zygote = None

    @contextlib.contextmanager
    def _slot(self, is_canceled: Callable[[], bool]) -> Any:
        while not self._slots.acquire(timeout=_LOOK_S):
            if is_canceled():
                raise JobCanceled
        try:
            yield
        finally:
            self._slots.release()

    def _run_once(
        self,
        task: str,
        folder: Path,
        options: Mapping[str, Any],
        progress: Progress,
        is_canceled: Callable[[], bool],
    ) -> dict[str, Any]:
        zygote = self._ready_zygote(is_canceled)
        with self._lock:
            self._n_tasks += 1
            task_id = self._n_tasks
        zygote.exits[task_id] = queue.SimpleQueue()
        reading, writing = os.pipe()
        try:
            message = {"id": task_id, "task": task, "folder": str(folder), "options": options}
            self._send(zygote, message, writing)
            os.close(writing)
            writing = -1
            watch = _Watch(self, zygote, task_id, self._config.timeout_s)
            return watch.result(reading, progress, is_canceled)
        finally:
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)
            zygote.exits.pop(task_id, None)

    def _send(self, zygote: _Zygote, message: Mapping[str, Any], *descriptors: int) -> None:
        content = json.dumps(message).encode()
        try:
            with self._lock:
                socket.send_fds(zygote.control, [content], list(descriptors))
        except OSError as error:
            zygote.is_gone.set()
            raise ChildLost("the zygote is gone") from error

    def stop_child(self, zygote: _Zygote, task_id: int) -> None:
        """Kill the child of a task."""
        with contextlib.suppress(ChildLost):
            self._send(zygote, {"stop": task_id})

    def count_exit(self, reason: str) -> None:
        """Count how a child ended."""
        self.exits[reason] += 1
        self.on_exit(reason)

    def _ready_zygote(self, is_canceled: Callable[[], bool]) -> _Zygote:
        give_up_s = time.monotonic() + self._config.start_timeout_s
        while time.monotonic() < give_up_s:
            zygote = self._zygote
            if zygote is not None and not zygote.is_gone.is_set():
                if zygote.is_ready.wait(_LOOK_S):
                    return zygote
            else:
                time.sleep(_LOOK_S)
            if is_canceled():
                raise JobCanceled
        raise JobFailed("worker_lost", "the process that reads files does not start")

    def _start(self) -> _Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "server.zygote", str(theirs.fileno())]
            child = subprocess.Popen(
                [*command, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        zygote = _Zygote(child, ours)
        settings = {
            "detector": self._config.detector,
            "limits": asdict(self._config.limits),
            "log_level": self._config.log_level,
        }
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
            stdin.write(json.dumps(settings).encode())
        threading.Thread(target=self._listen, args=(zygote,), daemon=True).start()
        self._not_before_s = time.monotonic() + min(30.0, 0.5 * 2 ** min(self._n_starts, 6))
        return zygote

    def _listen(self, zygote: _Zygote) -> None:
        """Take the zygote's messages until it is gone."""
        with contextlib.suppress(OSError):
            while content := zygote.control.recv(_MAX_MESSAGE_BYTES):
                message = json.loads(content)
                if "ready" in message:
                    self._n_starts = 0
                    zygote.is_ready.set()
                elif (waiting := zygote.exits.get(message["id"])) is not None:
                    waiting.put(int(message["exit"]))
        zygote.is_gone.set()

    def _bury(self, zygote: _Zygote) -> None:
        zygote.child.kill()
        zygote.child.wait()
        zygote.is_gone.set()
        zygote.control.close()


class _Watch:
    """One task under way: its messages, its time, its end."""

    def __init__(self, pool: DecodePool, zygote: _Zygote, task_id: int, timeout_s: float) -> None:
        self._pool = pool
        self._zygote = zygote
        self._task_id = task_id
        self._deadline_s = time.monotonic() + timeout_s
        self._answer: dict[str, Any] = {}

    def result(
        self, reading: int, progress: Progress, is_canceled: Callable[[], bool]
    ) -> dict[str, Any]:
        """The task's result."""
        try:
            for message in read_messages(reading, _LOOK_S):
                self._look(is_canceled)
                if message is not None:
                    self._take(message, progress)
        except ChannelAbused as error:
            self._stop("abused")
            raise JobFailed("undecodable", "reading the file went wrong") from error
        return self._judge()

    def _take(self, message: dict[str, Any], progress: Progress) -> None:
        if "progress" in message:
            stage, fraction = message["progress"]
            progress(str(stage), float(fraction), 1.0)
        else:
            self._answer = message

    def _look(self, is_canceled: Callable[[], bool]) -> None:
        if is_canceled():
            self._stop("canceled")
            raise JobCanceled
        if time.monotonic() > self._deadline_s:
            self._stop("timeout")
            raise JobFailed("decode_timeout", "reading the file takes too long")

    def _stop(self, reason: str) -> None:
        self._pool.stop_child(self._zygote, self._task_id)
        self._pool.count_exit(reason)

    def _judge(self) -> dict[str, Any]:
        """Result or failure, by what was said and how the child ended."""
        status = self._exit_status()
        if "result" in self._answer:
            self._pool.count_exit("done")
            return dict(self._answer["result"])
        if "failure" in self._answer:
            self._pool.count_exit("failed")
            raise JobFailed(*map(str, self._answer["failure"]))
        if status is None or status == -signal.SIGKILL:
            self._pool.count_exit("killed")
            raise ChildLost("its child was killed")
        if status in (-signal.SIGXCPU, -signal.SIGALRM):
            self._pool.count_exit("timeout")
            raise JobFailed("decode_timeout", "reading the file takes too much computing")
        self._pool.count_exit("crashed")
        logger.warning("a decode child ended with status %d", status)
        raise JobFailed("undecodable", "reading the file made its reader crash")

    def _exit_status(self) -> int | None:
        """How the child ended; None where its zygote ended too."""
        give_up_s = time.monotonic() + _EXIT_S
        while time.monotonic() < give_up_s:
            with contextlib.suppress(queue.Empty, KeyError):
                return self._zygote.exits[self._task_id].get(timeout=_LOOK_S)
            if self._zygote.is_gone.is_set():
                return None
        self._pool.stop_child(self._zygote, self._task_id)
        return None
