"""The API's hold on the model process: started, watched, restarted with back-off, ended in time."""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.jobs import JobStore
from server.settings import Settings

_LOG = logging.getLogger(__name__)
_WORKER = (sys.executable, "-m", "server.worker")
_WELL_AFTER_S = 60.0
_KILL_AFTER_S = 3.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses between starts: the first restart is at once, later ones wait twice as long each."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, n_failures: int) -> float:
        """Pause after so many ends without a good while between them."""
        if n_failures <= 1:
            return 0.0
        return min(self.longest_s, self.first_s * 2.0 ** min(n_failures - 2, 30))


class Supervisor:
    """Keeps one model process alive while the API runs.

    The process gets its settings on standard input and dies with this one: `start` must be called
    in the main thread's event loop, because the kernel ties a child's life to the thread.

    Args:
        settings: For the model process too.
        store: Told at once which jobs lost their worker.
        command: What is run; the worker's id and the parent's pid are added.
        back_off: Pauses between starts.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        *,
        command: Sequence[str] = _WORKER,
        back_off: BackOff = BackOff(),
    ) -> None:
        """Start nothing yet."""
        self._settings = settings
        self._store = store
        self._command = tuple(command)
        self._back_off = back_off
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.worker_id = ""
        self.n_starts = 0

    @property
    def pid(self) -> int | None:
        """The model process while it lives."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def start(self) -> None:
        """Start the model process and watch it until `stop`."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self, grace_s: float = 30.0) -> None:
        """Let the model process finish its jobs, then end it; what it did not finish waits again.

        Args:
            grace_s: How long it may take before it is killed.
        """
        self._is_stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), grace_s + _KILL_AFTER_S)
            except TimeoutError:
                _LOG.warning("the model process did not end in time and is killed")
                self._signal(signal.SIGKILL)
        if self._task is not None:
            if process is None or process.returncode is None:
                self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def request_drain(self) -> None:
        """Ask the model process to take no more jobs, finish those it has and end."""
        self._is_stopping = True
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def _watch(self) -> None:
        n_failures = 0
        while not self._is_stopping:
            started_s = time.monotonic()
            status = await self._run_once()
            if self._is_stopping:
                return
            lived_s = time.monotonic() - started_s
            n_failures = 1 if lived_s > _WELL_AFTER_S else n_failures + 1
            pause_s = self._back_off.pause_s(n_failures)
            _LOG.error(
                "the model process ended", extra={"exit_status": status, "restart_in_s": pause_s}
            )
            await asyncio.sleep(pause_s)

    async def _run_once(self) -> int:
        """One life of the model process; returns how it ended."""
        self.worker_id = f"worker_{secrets.token_hex(6)}"
        self.n_starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            self.worker_id,
            str(os.getpid()),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        await self._send_settings(self._process)
        status = await self._process.wait()
        await asyncio.to_thread(self._forget, self.worker_id)
        return status

    async def _send_settings(self, process: asyncio.subprocess.Process) -> None:
        """Secrets stay out of the argument list; those of the API alone are not sent."""
        assert process.stdin is not None
        text = self._settings.model_dump_json(exclude={"webhook_secret", "key_file"})
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(text.encode())
            await process.stdin.drain()
            process.stdin.close()

    def _forget(self, worker_id: str) -> None:
        """Free the jobs of a dead worker without waiting for their leases."""
        steps: tuple[Callable[[str], object], ...] = (
            self._store.lose_worker,
            self._store.forget_worker,
        )
        for step in steps:
            try:
                step(worker_id)
            except Exception:  # a full disk: the leases run out by themselves
                _LOG.exception("the store did not hear of the model process's end")
