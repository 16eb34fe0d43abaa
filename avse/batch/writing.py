"""The last stage: results are written aside and take their names when they are whole."""

import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avse.batch.errors import BatchStopped
from avse.batch.network import Enhanced
from avse.batch.reading import failure_of
from avse.batch.work import Failure, Work, Written
from avse.output import numbered, write_result
from avse.types import EnhancedClip
from preprocessing.errors import OutputError
from preprocessing.types import no_progress

LOOK_S = 0.1
HOPELESS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Where one result cannot be written for these reasons, none can."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a clip ended.

    Attributes:
        number: Of its task.
        files: What stands in the output folder.
        report: Of the first result, JSON.
        failure: Why there is nothing.
        stopping: Why the whole batch cannot go on.
    """

    number: int
    files: tuple[Written, ...] = ()
    report: str = ""
    failure: Failure | None = None
    stopping: BatchStopped | None = None


@dataclass(slots=True)
class WritingStage:
    """One thread that writes; `put` waits when it falls behind.

    Attributes:
        out_dir: Where results belong.
        folder: Where they are written first, on the same file system.
        deliver: Told how each clip ended, in this thread.
        n_waiting: Results that may wait.
    """

    out_dir: Path
    folder: Path
    deliver: Callable[[Ended], None]
    n_waiting: int = 8
    _queue: "queue.Queue[Enhanced]" = field(init=False)
    _is_stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        """Start the thread."""
        self._queue = queue.Queue(self.n_waiting)
        self._thread = threading.Thread(target=self._serve, name="writing", daemon=True)
        self._thread.start()

    def put(self, enhanced: Enhanced) -> None:
        """Add a clip; returns at once if the stage has been stopped."""
        while not self._is_stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(enhanced, timeout=LOOK_S)
                return

    def stop(self, timeout_s: float) -> bool:
        """Finish the file at hand and drop the rest; whether the thread has ended in time."""
        self._is_stopped.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._is_stopped.is_set():
            with contextlib.suppress(queue.Empty):
                self.deliver(self._ended(self._queue.get(timeout=LOOK_S)))

    def _ended(self, enhanced: Enhanced) -> Ended:
        if enhanced.failure is not None:
            return Ended(enhanced.number, failure=enhanced.failure)
        try:
            files = write_results(enhanced, self.out_dir, self.folder)
            report = enhanced.results[0].report.to_json()
            return Ended(enhanced.number, files, report)
        except Exception as error:
            return Ended(enhanced.number, failure=_failure(error), stopping=_stopping(error))


def write_results(enhanced: Enhanced, out_dir: Path, folder: Path) -> tuple[Written, ...]:
    """Write a clip's results into `folder`, then give them their names below `out_dir`.

    Raises:
        MediaError: One of them cannot be written.
        OSError: It cannot be moved.
    """
    work = enhanced.work
    suffix = Path(work.output).suffix
    aside = []
    try:
        for index, result in enumerate(enhanced.results):
            aside.append(folder / f"{enhanced.number}.{index}{suffix}")
            write_result(result, work.source, aside[-1], no_progress)
        names = output_names(work, enhanced.results)
        return tuple(_put(part, out_dir, name) for part, name in zip(aside, names, strict=True))
    finally:
        for part in aside:
            part.unlink(missing_ok=True)


def output_names(work: Work, results: Sequence[EnhancedClip]) -> list[str]:
    """Names of a clip's results; with several, each with its face's number, as `avse enhance`."""
    if len(results) == 1:
        return [work.output]
    return [str(numbered(Path(work.output), result)) for result in results]


def _put(part: Path, out_dir: Path, name: str) -> Written:
    n_bytes = part.stat().st_size
    final = out_dir / name
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, final)
    return Written(name, n_bytes)


def _failure(error: Exception) -> Failure:
    if isinstance(error, OSError):
        return Failure(OutputError.code, f"cannot be written: {error.strerror or error}")
    return failure_of(error)


def _stopping(error: Exception) -> BatchStopped | None:
    """Why nothing more can be written, if that is so."""
    cause = error if isinstance(error, OSError) else error.__cause__
    number = getattr(cause, "errno", None)
    if number not in HOPELESS:
        return None
    return BatchStopped(f"nothing more can be written: {os.strerror(number)}")
