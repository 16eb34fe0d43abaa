"""The API's hold on the model process: started, watched, restarted with back-off, ended in time."""

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.jobs import JobStore
from server.settings import Settings
from server.spool import Spool

_LOG = logging.getLogger(__name__)
_WORKER = (sys.executable, "-m", "server.worker")
_WELL_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses between starts: the first restart is at once, later ones wait twice as long each."""

    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, n_failures: int) -> float:
        """Pause after so many ends without a good while between them."""
        if n_failures <= 1:
            return 0.0
        return float(min(self.longest_s, self.first_s * 2.0 ** min(n_failures - 2, 30)))


class Supervisor:
    """Keeps one model process alive, from a thread of its own.

    The process gets its settings on standard input and dies with this one: the kernel ties its
    life to the thread that started it, which waits for nothing but its end.

    Args:
        settings: For the model process too.
        store: Told at once which jobs lost their worker; None opens the spool's own.
        command: What is run; the worker's id and the parent's pid are added.
        back_off: Pauses between starts.
    """

    def __init__(
        self,
        settings: Settings,
        store: JobStore | None = None,
        *,
        command: Sequence[str] = _WORKER,
        back_off: BackOff = BackOff(),
    ) -> None:
        """Start nothing yet."""
        self._settings = settings
        self._store = store or JobStore(Spool(settings.spool_dir).database_path)
        self._command = tuple(command)
        self._back_off = back_off
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self.worker_id = ""
        self.n_starts = 0

    @property
    def pid(self) -> int | None:
        """The model process while it lives."""
        child = self._child
        return None if child is None or child.returncode is not None else child.pid

    def start(self) -> None:
        """Start the model process and watch it until `stop`."""
        self._forget_dead()
        self._thread.start()

    def stop(self, grace_s: float = 30.0) -> None:
        """Let the model process finish its jobs, then end it; what it did not finish waits again.

        Args:
            grace_s: How long it may take before it is killed.
        """
        with self._lock:
            self._stopping.set()
            child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        self._thread.join(grace_s)
        if self._thread.is_alive() and child is not None:
            _LOG.warning("the model process did not end in time and is killed")
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            self._thread.join()

    def _watch(self) -> None:
        n_failures = 0
        while not self._stopping.is_set():
            started_s = time.monotonic()
            status = self._run_once()
            if self._stopping.is_set():
                return
            lived_s = time.monotonic() - started_s
            n_failures = 1 if lived_s > _WELL_AFTER_S else n_failures + 1
            pause_s = self._back_off.pause_s(n_failures)
            seen = {"exit_status": status, "restart_in_s": pause_s}
            _LOG.error("the model process ended", extra=seen)
            self._stopping.wait(pause_s)

    def _run_once(self) -> int | None:
        """One life of the model process; returns how it ended."""
        with self._lock:
            if self._stopping.is_set():
                return None
            self.worker_id = f"worker_{secrets.token_hex(6)}"
            self.n_starts += 1
            command = [*self._command, self.worker_id, str(os.getpid())]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
            self._child = child
        # Secrets stay out of the argument list; those of the API alone are not sent.
        text = self._settings.model_dump_json(exclude={"webhook_secret", "key_file"})
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
            stdin.write(text.encode())
        status = child.wait()
        self._forget(self.worker_id)
        return status

    def _forget_dead(self) -> None:
        """Free the jobs of model processes that died with an earlier API process."""
        for state in self._store.worker_states():
            if not Path("/proc", str(state.pid)).exists():
                self._forget(state.worker_id)

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
