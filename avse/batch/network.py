"""The network's stage: clips that wait are put together by length and go through it at once."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from avse.batch.reading import failure_of
from avse.batch.work import Failure, Work
from avse.targets import Target
from avse.types import EnhancedClip, EnhanceOptions
from preprocessing.timeline import n_stft_frames
from preprocessing.types import PreparedClip, Progress, no_progress

MAX_PASSED = 4
"""A clip lets other lengths go first so many times, then it is its turn."""


class Enhances(Protocol):
    """The part of `Enhancer` that is needed here."""

    def targets(self, prepared: PreparedClip, options: EnhanceOptions) -> list[Target]:
        """Whom to listen to."""
        ...

    def enhance_targets(
        self,
        targets: Sequence[Target],
        options: EnhanceOptions,
        progress: Progress = no_progress,
    ) -> list[EnhancedClip]:
        """One result for each target."""
        ...


@dataclass(slots=True, eq=False)
class Waiting:
    """A clip that has been read.

    Attributes:
        number: Of its task.
        work: What is wanted.
        prepared: The clip.
        n_passed: How many batches went before it.
    """

    number: int
    work: Work
    prepared: PreparedClip
    n_passed: int = 0


@dataclass(frozen=True, slots=True)
class Enhanced:
    """What the network made of a clip: its results, or why there are none."""

    number: int
    work: Work
    results: list[EnhancedClip] = field(default_factory=list)
    failure: Failure | None = None


class Stopped(Exception):
    """The batch is being stopped; raised inside the network's progress."""


class NetworkStage:
    """One thread that feeds the network; it takes what waits and never waits for company.

    Args:
        enhancer: Does the work.
        window_frames: Clips of this many STFT frames and more share windows of one length.
        max_clips: In one call.
        deliver: Told each clip's results, in the stage's thread.
    """

    def __init__(
        self,
        enhancer: Enhances,
        window_frames: int,
        max_clips: int,
        deliver: Callable[[Enhanced], None],
    ) -> None:
        """Start the thread."""
        self._enhancer = enhancer
        self._window_frames = window_frames
        self._max_clips = max_clips
        self._deliver = deliver
        self._waiting: list[Waiting] = []
        self._changed = threading.Condition()
        self._is_stopped = False
        self.batch_sizes: list[int] = []
        self._thread = threading.Thread(target=self._serve, name="network", daemon=True)
        self._thread.start()

    def put(self, clip: Waiting) -> None:
        """Add a clip that has been read."""
        with self._changed:
            self._waiting.append(clip)
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """Drop what waits, break off what runs; whether the thread has ended in time."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_stopped:
                    self._changed.wait()
                if self._is_stopped:
                    return
                batch = self._take()
            self.batch_sizes.append(len(batch))
            try:
                self._enhance(batch)
            except Stopped:
                return

    def _take(self) -> list[Waiting]:
        """The fullest group, or the oldest clip's if it was passed too often."""
        groups: dict[tuple[EnhanceOptions, int], list[Waiting]] = {}
        for clip in self._waiting:
            groups.setdefault(self._group(clip), []).append(clip)
        oldest = self._waiting[0]
        chosen = groups[self._group(oldest)]
        if oldest.n_passed < MAX_PASSED:
            chosen = max(groups.values(), key=len)  # the first of equals has waited longest
        batch = chosen[: self._max_clips]
        self._waiting = [clip for clip in self._waiting if clip not in batch]
        for clip in self._waiting:
            clip.n_passed += 1
        return batch

    def _group(self, clip: Waiting) -> tuple[EnhanceOptions, int]:
        """Clips of one group have windows of one length."""
        n_frames = n_stft_frames(clip.prepared.audio.n_samples)
        return clip.work.options, min(n_frames, self._window_frames)

    def _enhance(self, batch: list[Waiting]) -> None:
        chosen: list[tuple[Waiting, list[Target]]] = []
        for clip in batch:
            try:
                chosen.append((clip, self._enhancer.targets(clip.prepared, clip.work.options)))
            except Exception as error:
                self._fail(clip, error)
        if chosen:
            self._run(chosen)

    def _run(self, chosen: list[tuple[Waiting, list[Target]]]) -> None:
        """All together; where that fails, each alone, so that one harms no other."""
        targets = [target for _, own in chosen for target in own]
        options = chosen[0][0].work.options
        try:
            results = self._enhancer.enhance_targets(targets, options, self._look)
        except Stopped:
            raise
        except Exception as error:
            if len(chosen) == 1:
                self._fail(chosen[0][0], error)
                return
            for each in chosen:
                self._run([each])
            return
        remaining = iter(results)
        for clip, own in chosen:
            self._deliver(Enhanced(clip.number, clip.work, [next(remaining) for _ in own]))

    def _fail(self, clip: Waiting, error: Exception) -> None:
        self._deliver(Enhanced(clip.number, clip.work, failure=failure_of(error)))

    def _look(self, stage: str, done: float, total: float) -> None:
        if self._is_stopped:
            raise Stopped
