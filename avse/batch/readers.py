"""The reading processes as the pipeline sees them: give a task, get a reading, whoever dies."""

import logging
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from avse.batch.errors import BatchStopped
from avse.batch.reading import Reading, ReadTask, serve
from avse.batch.work import Failure

logger = logging.getLogger(__name__)

MAX_TRIES = 2
MAX_FAILED_STARTS = 3
_EXIT_S = 5.0


@dataclass(slots=True, eq=False)
class _Reader:
    """One process and what it is at."""

    child: BaseProcess
    connection: Connection
    is_ready: bool = False
    task: ReadTask | None = None


class Readers:
    """Processes that read clips, each one at a time; a dead one is replaced.

    They come from a fork server, which imports the heavy packages once: a replacement starts in
    moments and shares their memory. They end with this process, however it ends.

    Args:
        n_readers: How many.
        body: What they run; for tests.
    """

    def __init__(self, n_readers: int, body: Callable[[Connection], None] = serve) -> None:
        """Start them; they become ready by themselves."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["avse.batch.reading"])
        self._body = body
        self._tries: dict[int, int] = {}
        self._n_failed_starts = 0
        self._readers = [self._start() for _ in range(n_readers)]
        self._again: list[ReadTask] = []

    def _start(self) -> _Reader:
        ours, theirs = self._context.Pipe()
        child = self._context.Process(target=self._body, args=(theirs,), daemon=True)
        child.start()
        theirs.close()
        return _Reader(child, ours)

    @property
    def pids(self) -> list[int]:
        """Process ids."""
        return [reader.child.pid or 0 for reader in self._readers]

    @property
    def n_idle(self) -> int:
        """Tasks that could start at once."""
        idle = sum(reader.is_ready and reader.task is None for reader in self._readers)
        return max(0, idle - len(self._again))

    def give(self, task: ReadTask) -> None:
        """Start a task; call it only while `n_idle` is above zero."""
        reader = next(each for each in self._readers if each.is_ready and each.task is None)
        reader.task = task
        try:
            reader.connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            logger.info("a reading process is gone")  # `wait` finds it and tries again

    def wait(self, timeout_s: float, also: Connection) -> list[Reading]:
        """Readings that are there, or come within the time, or until `also` can be read.

        Raises:
            BatchStopped: Readers die again and again before they are ready.
        """
        by_connection = {reader.connection: reader for reader in self._readers}
        ready = wait([*by_connection, also], timeout_s)
        found = [self._receive(by_connection[each]) for each in ready if each in by_connection]
        while self._again and any(r.is_ready and r.task is None for r in self._readers):
            self.give(self._again.pop())
        return [reading for reading in found if reading is not None]

    def _receive(self, reader: _Reader) -> Reading | None:
        try:
            reading: Reading | None = reader.connection.recv()
        except (EOFError, OSError):
            return self._replace(reader)
        if reading is None:
            reader.is_ready, self._n_failed_starts = True, 0
            return None
        reader.task = None
        self._tries.pop(reading.number, None)
        return reading

    def _replace(self, dead: _Reader) -> Reading | None:
        """Put another in its place; its task is tried once more, then it has failed."""
        dead.connection.close()
        dead.child.join(_EXIT_S)
        if not dead.is_ready:
            self._n_failed_starts += 1
            if self._n_failed_starts >= MAX_FAILED_STARTS:
                raise BatchStopped(f"reading processes do not start (exit {dead.child.exitcode})")
        self._readers[self._readers.index(dead)] = self._start()
        if dead.task is None:
            return None
        number = dead.task.number
        self._tries[number] = self._tries.get(number, 0) + 1
        logger.warning("%s: the reading process died", dead.task.path)
        if self._tries[number] < MAX_TRIES:
            self._again.append(dead.task)
            return None
        del self._tries[number]
        reason = f"the process that read it died {MAX_TRIES} times (exit {dead.child.exitcode})"
        return Reading(number, failure=Failure("worker_lost", reason))

    def close(self) -> None:
        """End them all."""
        for reader in self._readers:
            reader.connection.close()
            reader.child.terminate()
        _join([reader.child for reader in self._readers])


def _join(children: Sequence[BaseProcess]) -> None:
    give_up_s = time.monotonic() + _EXIT_S
    for child in children:
        child.join(max(0.0, give_up_s - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
        child.close()
