"""One running job as its steps see it: progress into the store, and whether to go on."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence

from server.job_types import Job, Observation
from server.jobs import JobStore

logger = logging.getLogger(__name__)

# Share of the whole job that each stage stands for.
STAGE_SPANS = {
    "probe": (0.0, 0.02),
    "decode": (0.02, 0.2),
    "track": (0.2, 0.6),
    "infer": (0.6, 0.9),
    "encode": (0.9, 0.95),
    "mux": (0.95, 1.0),
}
_MIN_TELL_S = 0.2
_RETRY_S = 1.0


class JobControl:
    """Tells the store of one job and hears whether it was canceled or taken away.

    Args:
        job: As it was claimed.
        store: Where progress goes.
        worker_id: Who holds the job.
        on_read: Called once, when the job's input has been read or the job has ended.
    """

    def __init__(
        self,
        job: Job,
        store: JobStore,
        worker_id: str,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing has happened yet."""
        self.job = job
        self._store = store
        self._worker_id = worker_id
        self._stop = threading.Event()
        self._told = ("", 0.0)
        self._on_read: Callable[[], None] | None = on_read

    def has_read(self) -> None:
        """The job's input has been read: another job's may be."""
        on_read, self._on_read = self._on_read, None
        if on_read is not None:
            on_read()

    def stop(self) -> None:
        """The job was canceled, deleted or taken away: nothing of it counts any more."""
        self._stop.set()

    def is_stopped(self) -> bool:
        """Whether to give up."""
        return self._stop.is_set()

    def progress(self, stage: str, done: float, total: float = 1.0) -> None:
        """Note how far a stage is; a store that cannot be written now is no reason to stop."""
        now_s = time.monotonic()
        told_stage, told_s = self._told
        if stage not in STAGE_SPANS or (stage == told_stage and now_s - told_s < _MIN_TELL_S):
            return
        self._told = (stage, now_s)
        first, last = STAGE_SPANS[stage]
        share = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
        fraction = min(0.999, first + (last - first) * share)
        try:
            is_held = self._store.set_progress(self.job.id, self._worker_id, stage, fraction)
        except sqlite3.OperationalError as error:
            logger.warning("progress was not kept: %s", error)
        else:
            if not is_held:
                self.stop()

    def warn(self, sentences: Sequence[str]) -> None:
        """Add warnings for the user."""
        for sentence in sentences:
            self._store.warn(self.job.id, self._worker_id, sentence)

    def settle(self, end: Callable[[], bool]) -> bool:
        """End the job in the store, trying on while its disk is full; False if it was lost."""
        while not self.is_stopped():
            try:
                return end()
            except sqlite3.OperationalError as error:
                logger.warning("a job's end was not kept yet: %s", error)
                time.sleep(_RETRY_S)
        return False


class Observations:
    """Measured values on their way to the store; kept while it cannot be written."""

    def __init__(self, most: int = 10_000) -> None:
        """Start empty; beyond `most` values the newest are lost."""
        self._most = most
        self._kept: list[Observation] = []
        self._lock = threading.Lock()

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Keep a value."""
        with self._lock:
            if len(self._kept) < self._most:
                self._kept.append(Observation(name, value, labels))

    def flush(self, store: JobStore) -> None:
        """Send what was kept.

        Raises:
            sqlite3.OperationalError: The store cannot be written; nothing is lost.
        """
        with self._lock:
            sending, self._kept = self._kept, []
        if not sending:
            return
        try:
            store.observe(sending)
        except BaseException:
            with self._lock:
                self._kept = sending + self._kept
            raise
