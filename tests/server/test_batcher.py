"""The micro-batcher: company by group and length, no waiting for nothing, failures kept apart."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from server.batcher import BatchConfig, Batcher, BatcherClosed, BatcherFull
from server.failures import JobCanceled

TIMEOUT_S = 120


class Slow:
    """A run function that can be held, and remembers its batches."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, group: object, items: Sequence[int], progress) -> list[int]:
        self.batches.append(list(items))
        self.started.set()
        assert self.go.wait(TIMEOUT_S)
        progress(0.5)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [10 * item for item in items]


def fill(batcher: Batcher[int, int], run: Slow, entries, group: str = "a") -> list[Future[int]]:
    """Queue entries `(item, duration_s)` behind a first one that is under way."""
    first = batcher.submit(0, group="first", duration_s=1.0)
    assert run.started.wait(TIMEOUT_S)
    return [first, *(batcher.submit(i, group=group, duration_s=s) for i, s in entries)]


def results(futures: list[Future[int]]) -> list[int]:
    return [future.result(TIMEOUT_S) for future in futures]


def test_what_waits_goes_together_up_to_the_most() -> None:
    run = Slow()
    batcher = Batcher(run, BatchConfig(max_batch=3, wait_s=0.0))
    futures = fill(batcher, run, [(i, 1.0) for i in range(1, 6)])
    run.go.set()
    assert results(futures) == [0, 10, 20, 30, 40, 50]
    assert run.batches == [[0], [1, 2, 3], [4, 5]]
    batcher.close()


def test_groups_and_lengths_are_kept_apart() -> None:
    run = Slow()
    batcher = Batcher(run, BatchConfig(wait_s=0.0))
    futures = fill(batcher, run, [(1, 1.0), (2, 9.0), (3, 1.9)])
    futures.append(batcher.submit(4, group="b", duration_s=1.0))
    run.go.set()
    assert results(futures) == [0, 10, 20, 30, 40]
    assert run.batches == [[0], [1, 3], [2], [4]]
    batcher.close()


def test_company_that_comes_in_time_is_taken() -> None:
    run = Slow()
    run.go.set()
    batcher = Batcher(run, BatchConfig(max_batch=2, wait_s=TIMEOUT_S))
    futures = [batcher.submit(i, group="a", duration_s=1.0) for i in (1, 2)]
    assert results(futures) == [10, 20]
    assert run.batches == [[1, 2]]
    batcher.close()


def test_one_that_fails_harms_no_other() -> None:
    run = Slow()
    batcher = Batcher(run, BatchConfig(wait_s=0.0))
    futures = fill(batcher, run, [(1, 1.0), (-2, 1.0), (3, 1.0)])
    run.go.set()
    assert futures[1].result(TIMEOUT_S) == 10
    with pytest.raises(ValueError, match="negative"):
        futures[2].result(TIMEOUT_S)
    assert futures[3].result(TIMEOUT_S) == 30
    batcher.close()


def test_it_is_bounded_and_closes() -> None:
    run = Slow()
    batcher = Batcher(run, BatchConfig(max_waiting=1, wait_s=0.0))
    futures = fill(batcher, run, [(1, 1.0)])
    with pytest.raises(BatcherFull):
        batcher.submit(2, group="a", duration_s=1.0)
    run.go.set()
    batcher.close()
    assert results(futures) == [0, 10]
    with pytest.raises(BatcherClosed):
        batcher.submit(3, group="a", duration_s=1.0)


def test_canceled_clips_are_not_run_or_stopped() -> None:
    run = Slow()
    canceled = threading.Event()
    batcher = Batcher(run, BatchConfig(wait_s=0.0))
    running = batcher.submit(1, group="a", duration_s=1.0, is_canceled=canceled.is_set)
    assert run.started.wait(TIMEOUT_S)
    waiting = batcher.submit(2, group="a", duration_s=1.0, is_canceled=canceled.is_set)
    canceled.set()
    run.go.set()
    for future in (running, waiting):
        with pytest.raises(JobCanceled):
            future.result(TIMEOUT_S)
    assert run.batches == [[1]]
    batcher.close()


def test_short_clips_pass_a_long_one() -> None:
    order: list[str] = []
    is_waiting = threading.Event()

    def run(group: object, items: Sequence[str], progress) -> list[str]:
        if items == ["long"]:
            assert is_waiting.wait(TIMEOUT_S)
            for step in range(4):
                progress(step / 4)
        order.extend(items)
        return list(items)

    batcher: Batcher[str, str] = Batcher(run, BatchConfig(wait_s=0.0, short_s=10.0))
    long = batcher.submit("long", group="a", duration_s=600.0)
    short = batcher.submit("short", group="a", duration_s=5.0)
    other = batcher.submit("other long", group="a", duration_s=100.0)
    is_waiting.set()
    assert [f.result(TIMEOUT_S) for f in (long, short, other)] == ["long", "short", "other long"]
    assert order == ["short", "long", "other long"]
    batcher.close()


def test_progress_reaches_every_clip() -> None:
    run = Slow()
    seen: list[float] = []
    batcher = Batcher(run, BatchConfig(wait_s=0.0))
    run.go.set()
    batcher.submit(1, group="a", duration_s=1.0, on_progress=seen.append).result(TIMEOUT_S)
    assert seen == [0.5]
    batcher.close()
