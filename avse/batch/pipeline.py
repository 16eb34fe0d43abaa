"""Clips through the stages, and the books about them.

This thread keeps the books: it alone touches the ledger, hands out work, and knows what is under
way. What is under way is bounded by number and by seconds of sound, and so is memory.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avse.batch.ledger import Ledger, Standing
from avse.batch.reading import Reading, ReadTask
from avse.batch.runs import Run
from avse.batch.stages import Capacity, Stages
from avse.batch.tally import Tally
from avse.batch.work import Failure, Work
from avse.batch.writing import Ended
from avse.enhancer import Enhancer

logger = logging.getLogger(__name__)

LOOK_S = 0.2
AGAIN_S = 1.0
AGAIN_EACH_S = 0.02


@dataclass(slots=True)
class _UnderWay:
    """A clip between claim and end."""

    work: Work
    n_bytes: int
    input_sha256: str | None = None
    audio_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the pipeline works with."""

    enhancer: Enhancer
    ledger: Ledger
    run: Run
    out_dir: Path
    tally: Tally
    on_change: Callable[[Tally], None]
    is_stopped: threading.Event


class Pipeline:
    """One run's clips through the stages.

    Args:
        shop: What it works with.
        stages: Who does the work.
        capacity: How much at once.
    """

    def __init__(self, shop: Workshop, stages: Stages, capacity: Capacity) -> None:
        """Begin with empty books."""
        self._shop = shop
        self._stages = stages
        self._capacity = capacity
        self._under_way: dict[int, _UnderWay] = {}
        self._n_begun = 0
        self._n_tasks = 0

    def run(self, works: Sequence[tuple[Work, int]]) -> None:
        """Do the work, each with its size in bytes; returns at the end or when it is stopped.

        Raises:
            BatchStopped: It cannot go on.
        """
        waiting, held = deque(works), deque[tuple[Work, int]]()
        again_s = 0.0
        while waiting or held or self._under_way:
            if self._shop.is_stopped.is_set():
                return
            if not waiting and held and time.monotonic() >= again_s:
                waiting, held = held, waiting
                again_s = time.monotonic() + AGAIN_S + AGAIN_EACH_S * len(waiting)
            self._begin(waiting, held)
            if self._is_at_limit():
                self._shop.tally.n_left += len(waiting) + len(held)
                waiting.clear()
                held.clear()
            self._turn()

    def _turn(self) -> None:
        """Take what the stages have done, or wait a moment for it."""
        for each in self._stages.wait(LOOK_S):
            if isinstance(each, Reading):
                self._on_read(each)
            else:
                self._on_end(each)
        self._shop.on_change(self._shop.tally)

    def _has_room(self) -> bool:
        read_s = sum(clip.audio_s for clip in self._under_way.values())
        most = self._capacity.n_readers + self._capacity.n_ahead
        return len(self._under_way) < most and read_s < self._capacity.ahead_s

    def _is_at_limit(self) -> bool:
        limit = self._capacity.limit
        return limit is not None and self._n_begun >= limit

    def _begin(self, waiting: deque[tuple[Work, int]], held: deque[tuple[Work, int]]) -> None:
        """Claim work and give it out while there is room."""
        tally = self._shop.tally
        while waiting and self._stages.n_idle and self._has_room() and not self._is_at_limit():
            work, n_bytes = waiting.popleft()
            standing = self._shop.ledger.claim(work, self._shop.run.id, self._shop.run.is_alive)
            if standing.state == "held":
                held.append((work, n_bytes))
            elif standing.state == "todo":
                self._give(work, n_bytes, standing)
            else:  # another run was faster
                tally.bytes_total -= n_bytes
                tally.n_skipped += standing.state == "done"
                tally.n_failed += standing.state == "failed"

    def _give(self, work: Work, n_bytes: int, standing: Standing) -> None:
        self._n_begun += 1
        self._n_tasks += 1
        self._under_way[self._n_tasks] = _UnderWay(work, n_bytes)
        pipeline = self._shop.enhancer.pipeline_for(work.options)
        task = ReadTask(
            self._n_tasks,
            work.source,
            pipeline,
            standing.known,
            standing.settled_sha256,
            self._shop.run.folder,
        )
        self._stages.read(task)

    def _on_read(self, reading: Reading) -> None:
        clip = self._under_way[reading.number]
        clip.input_sha256 = reading.input_sha256
        if reading.stamp is not None and reading.input_sha256 is not None:
            self._shop.ledger.remember(clip.work.source, reading.stamp, reading.input_sha256)
        if reading.failure is not None:
            self._on_end(Ended(reading.number, failure=reading.failure))
        elif reading.audio_s is None:
            self._on_settled(reading.number)
        else:
            clip.audio_s = reading.audio_s
            self._stages.enhance(reading, clip.work)

    def _on_settled(self, number: int) -> None:
        """The file was touched, but holds what it held before."""
        clip = self._under_way.pop(number)
        self._shop.ledger.drop(clip.work)
        state = self._shop.ledger.standing(clip.work).state
        self._n_begun -= 1
        self._shop.tally.bytes_total -= clip.n_bytes
        self._shop.tally.n_skipped += state == "done"
        self._shop.tally.n_failed_before += state != "done"

    def _on_end(self, ended: Ended) -> None:
        if ended.stopping is not None:
            raise ended.stopping
        clip = self._under_way.pop(ended.number)
        tally = self._shop.tally
        tally.bytes_ended += clip.n_bytes
        failure = ended.failure
        if failure is None and clip.input_sha256 is None:
            failure = Failure("internal", "a fault of avse: a result without the input's hash")
        if failure is not None:
            tally.n_failed += 1
            logger.info("%s: %s", clip.work.source, failure.reason)
            self._shop.ledger.fail(clip.work, clip.input_sha256, failure)
            return
        assert clip.input_sha256 is not None
        stale = self._shop.ledger.finish(
            clip.work, clip.input_sha256, ended.files, ended.report, clip.audio_s
        )
        for name in stale:
            if self._shop.ledger.owner(name) is None:
                (self._shop.out_dir / name).unlink(missing_ok=True)
        tally.n_done += 1
        tally.audio_s += clip.audio_s
