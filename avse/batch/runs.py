"""A run's own corner of the output folder, and how others know whether it still lives."""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

CORNER = ".avse-batch"
LEDGER = "ledger.sqlite"
_LOCK = "lock"
_PREFIX = "run-"
_DEAD = "dead-"


class Run:
    """One run: a folder for files that are not finished, and a lock that ends with the run.

    The kernel lets go of the lock however the run ends, on this machine or, over a network folder,
    on another: no process ids, no clocks.

    Attributes:
        id: Of this run.
        folder: For files on their way.

    Args:
        out_dir: The output folder.
    """

    def __init__(self, out_dir: Path) -> None:
        """Make the folder and lock it; it gets its name when it is locked.

        Raises:
            OSError: The output folder cannot be written.
        """
        self._corner = out_dir / CORNER
        self._corner.mkdir(parents=True, exist_ok=True)
        self.id = secrets.token_hex(6)
        fresh = self._corner / f"new-{self.id}"
        fresh.mkdir()
        self._lock = os.open(fresh / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = self._corner / f"{_PREFIX}{self.id}"
        fresh.rename(self.folder)

    def is_alive(self, run: str) -> bool:
        """Whether a run still holds its lock."""
        return run == self.id or _is_locked(self._corner / f"{_PREFIX}{run}" / _LOCK)

    def bury_dead(self, release: Callable[[str], None]) -> None:
        """Give back what dead runs held and remove what they left."""
        for folder in self._corner.glob(f"{_PREFIX}*"):
            run = folder.name.removeprefix(_PREFIX)
            if not self.is_alive(run):
                release(run)
                _remove(folder)
        for folder in self._corner.glob(f"{_DEAD}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder and let go of the lock."""
        _remove(self.folder)
        os.close(self._lock)


def _remove(folder: Path) -> None:
    """Take its name away at once: a worker that outlived its run finds nothing to put in place."""
    gone = folder.with_name(f"{_DEAD}{folder.name}")
    with contextlib.suppress(OSError):  # another run was faster
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
