"""Clips of several jobs through the network together, by length, without waiting for nothing."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from server.failures import JobCanceled

Item = TypeVar("Item")
Result = TypeVar("Result")
Fraction = Callable[[float], None]
Run = Callable[[Hashable, Sequence[Item], Fraction], Sequence[Result]]

_LOOK_S = 0.1


class BatcherFull(RuntimeError):
    """As many clips wait as may wait."""


class BatcherClosed(RuntimeError):
    """The batcher takes nothing any more."""


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """How clips come together.

    Attributes:
        max_batch: Clips in one call.
        max_waiting: Clips that may wait.
        wait_s: How long a batch that is not full waits for company once the queue is empty.
        bucket_ratio: Clips come together whose lengths differ by less than this factor.
        short_s: Clips up to this length may pass between the windows of a longer one.
    """

    max_batch: int = 8
    max_waiting: int = 64
    wait_s: float = 0.005
    bucket_ratio: float = 2.0
    short_s: float = 60.0


@dataclass(slots=True, eq=False)
class _Entry(Generic[Item, Result]):
    """One clip that waits."""

    item: Item
    group: Hashable
    duration_s: float
    future: "Future[Result]"
    on_progress: Fraction
    is_canceled: Callable[[], bool] = field(default=lambda: False)


class Batcher(Generic[Item, Result]):
    """Calls `run` with up to `max_batch` items of one group and of like length.

    One thread makes the calls. What is waiting is taken at once; only when nothing more waits does
    a batch that is not full wait `wait_s`. A clip longer than `short_s` lets shorter ones pass
    whenever it reports progress.

    Args:
        run: Takes the group, the items and a callback for the fraction done; gives one result for
            each item, in order.
        config: How.
        on_batch: Told the size of each batch.
    """

    def __init__(
        self,
        run: "Run[Item, Result]",
        config: BatchConfig = BatchConfig(),
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        """Start the thread."""
        self._run = run
        self._config = config
        self._on_batch = on_batch
        self._waiting: list[_Entry[Item, Result]] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._serve, name="batcher", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Clips that wait."""
        return len(self._waiting)

    def submit(
        self,
        item: Item,
        *,
        group: Hashable,
        duration_s: float,
        on_progress: Fraction = lambda fraction: None,
        is_canceled: Callable[[], bool] = lambda: False,
    ) -> "Future[Result]":
        """Put a clip into the queue.

        Raises:
            BatcherFull: The queue is full.
            BatcherClosed: `close` was called.
        """
        future: Future[Result] = Future()
        entry = _Entry(item, group, duration_s, future, on_progress, is_canceled)
        with self._changed:
            if self._is_closed:
                raise BatcherClosed("the batcher is closed")
            if len(self._waiting) >= self._config.max_waiting:
                raise BatcherFull(f"{self._config.max_waiting} clips are waiting already")
            self._waiting.append(entry)
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._is_closed:
                        return
                    self._changed.wait(_LOOK_S)
                batch = self._take(self._config.max_batch)
            self._call(self._filled(batch))

    def _take(self, n_most: int, longest_s: float = float("inf")) -> list[_Entry[Item, Result]]:
        """The oldest clip and those that go with it; the lock is held."""
        fitting = [entry for entry in self._waiting if entry.duration_s <= longest_s]
        if not fitting:
            return []
        self._waiting.remove(fitting[0])
        batch = fitting[:1]
        for entry in fitting[1:]:
            if len(batch) < n_most and self._goes_with(batch[0], entry):
                self._waiting.remove(entry)
                batch.append(entry)
        return batch

    def _goes_with(self, first: _Entry[Item, Result], other: _Entry[Item, Result]) -> bool:
        low, high = sorted((first.duration_s, other.duration_s))
        return first.group == other.group and high <= low * self._config.bucket_ratio

    def _filled(self, batch: list[_Entry[Item, Result]]) -> list[_Entry[Item, Result]]:
        """The batch with the company that came within `wait_s`."""
        give_up_s = time.monotonic() + self._config.wait_s
        with self._changed:
            while not self._is_closed:
                batch += self._company(batch)
                left_s = give_up_s - time.monotonic()
                if left_s <= 0 or self._waiting or len(batch) >= self._config.max_batch:
                    break
                self._changed.wait(left_s)
        return batch

    def _company(self, batch: list[_Entry[Item, Result]]) -> list[_Entry[Item, Result]]:
        """Waiting clips that go with a batch, as many as it has room for; the lock is held."""
        n_free = self._config.max_batch - len(batch)
        found = [entry for entry in self._waiting if self._goes_with(batch[0], entry)][:n_free]
        for entry in found:
            self._waiting.remove(entry)
        return found

    def _call(self, batch: list[_Entry[Item, Result]], *, is_nested: bool = False) -> None:
        """Run a batch; where it fails, each of its clips alone, so that one harms no other."""
        batch = [entry for entry in batch if not self._drop_canceled(entry)]
        if not batch:
            return
        self._on_batch(len(batch))
        try:
            results = self._run(
                batch[0].group, [e.item for e in batch], self._watch(batch, is_nested)
            )
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for entry in batch:
                self._call([entry], is_nested=is_nested)
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(result)

    @staticmethod
    def _drop_canceled(entry: _Entry[Item, Result]) -> bool:
        if entry.is_canceled():
            entry.future.set_exception(JobCanceled())
            return True
        return False

    def _watch(self, batch: list[_Entry[Item, Result]], is_nested: bool) -> Fraction:
        """Tells progress, stops a batch that nobody wants, lets short clips pass a long one."""
        is_long = not is_nested and max(e.duration_s for e in batch) > self._config.short_s

        def on_fraction(fraction: float) -> None:
            if all(entry.is_canceled() for entry in batch):
                raise JobCanceled
            for entry in batch:
                entry.on_progress(fraction)
            if is_long:
                self._let_pass()

        return on_fraction

    def _let_pass(self) -> None:
        with self._changed:
            batch = self._take(self._config.max_batch, self._config.short_s)
        if batch:
            self._call(batch, is_nested=True)
