"""Mixtures times systems: enhance here, score in worker processes, one row each."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from avse.evaluation.errors import EvaluationError, NoLips
from avse.evaluation.lips import LipsControl, Sight
from avse.evaluation.metrics import METRICS, Scores, score_all
from avse.evaluation.rows import Row
from avse.evaluation.systems import MIXTURE, System, checked_output
from avse.evaluation.trials import ReadAudio, Trial, TrialPlan
from models.errors import ModelError
from preprocessing.errors import MediaError
from preprocessing.media import read_audio
from preprocessing.types import Progress, Waveform, no_progress

log = logging.getLogger(__name__)

Sounds = list[np.ndarray]
Submit = Callable[[np.ndarray, Sounds, tuple[str, ...]], "Future[list[Scores]]"]

N_KEPT_SOUNDS = 512
BAD_PAIR = (EvaluationError, MediaError, ModelError, ValueError)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to go through the pairs.

    Attributes:
        lips: Which mouths to show to systems that see.
        metrics: Which of `METRICS`.
        n_workers: Processes that score; 0 = score here.
    """

    lips: tuple[LipsControl, ...] = ("own",)
    metrics: tuple[str, ...] = METRICS
    n_workers: int = 0


@dataclass(frozen=True, slots=True)
class _Pending:
    """Rows of one pair that wait for their scores; the first is the mixture's, if there is one."""

    rows: list[Row]
    scores: "Future[list[Scores]]"


def run_trials(
    plans: Sequence[TrialPlan],
    systems: Sequence[System],
    sight: Sight | None,
    options: RunOptions | None = None,
    progress: Progress = no_progress,
) -> list[Row]:
    """Judge every system on every pair.

    Args:
        plans: The pairs.
        systems: Whose output is judged, beside the mixture itself and finished estimates.
        sight: Where mouths come from; None shows none.
        options: How.
        progress: Called with the stage "evaluate" and pairs done.

    Returns:
        Rows in the order of the plans; a pair or a system's output that cannot be judged has a
        row with its reason.
    """
    options = options or RunOptions()
    read = _cached_reader()
    rows: list[Row] = []
    waiting: deque[_Pending] = deque()
    with _scoring(options.n_workers) as submit:
        for n_done, plan in enumerate(plans, 1):
            waiting.append(_one_pair(_Pair(plan, sight, options), systems, read, submit))
            while len(waiting) > 4 * options.n_workers:
                rows.extend(_scored(waiting.popleft()))
            progress("evaluate", n_done, len(plans))
        while waiting:
            rows.extend(_scored(waiting.popleft()))
    return rows


def _cached_reader() -> ReadAudio:
    @lru_cache(maxsize=N_KEPT_SOUNDS)
    def read(path: Path) -> Waveform:
        return read_audio(path)

    return read


@dataclass(frozen=True, slots=True)
class _Pair:
    plan: TrialPlan
    sight: Sight | None
    options: RunOptions

    def views(self, system: System) -> tuple[LipsControl, ...]:
        """The mouths a system is shown."""
        return self.options.lips if system.sees and self.sight is not None else ("none",)


def _one_pair(pair: _Pair, systems: Sequence[System], read: ReadAudio, submit: Submit) -> _Pending:
    try:
        trial = pair.plan.render(read)
    except BAD_PAIR as error:
        log.warning("%s: %s", pair.plan.facts.clip, error)
        return _Pending(_bad_pair(pair, systems, str(error)), _done([]))
    rows, sounds = _given(pair, trial)
    if trial.noisy is not None:
        for system in systems:
            for view in pair.views(system):
                row, sound = _heard(pair, trial.noisy, system, view)
                rows.append(row)
                sounds.extend([] if sound is None else [sound])
    rows = [replace(row, duration_s=trial.clean.duration_s) for row in rows]
    return _Pending(rows, submit(trial.clean.samples, sounds, pair.options.metrics))


def _given(pair: _Pair, trial: Trial) -> tuple[list[Row], Sounds]:
    """The mixture and the finished estimates."""
    given = {} if trial.noisy is None else {MIXTURE: trial.noisy}
    rows: list[Row] = []
    sounds: Sounds = []
    for name, sound in (given | trial.estimates).items():
        row = Row(pair.plan.facts, name)
        if sound.n_samples == trial.clean.n_samples:
            sounds.append(sound.samples)
        else:
            found = f"{trial.clean.n_samples} and {sound.n_samples} samples"
            row = replace(row, reason=f"lengths differ: {found}")
        rows.append(row)
    return rows, sounds


def _heard(
    pair: _Pair, noisy: Waveform, system: System, view: LipsControl
) -> tuple[Row, np.ndarray | None]:
    row = Row(pair.plan.facts, system.name, view if system.sees else "")
    try:
        mouth = None
        if pair.sight is not None and view != "none":
            mouth, clip = pair.sight.mouth(pair.plan.facts, view, noisy.n_samples)
            seen = float(mouth.is_visible.mean()) if mouth is not None else 0.0
            row = replace(row, lips_clip=clip, seen=seen)
        return row, checked_output(system, noisy, mouth)
    except NoLips as error:
        return replace(row, reason=str(error)), None
    except BAD_PAIR as error:
        log.warning("%s: %s: %s", system.name, pair.plan.facts.clip, error)
        return replace(row, reason=str(error)), None


def _bad_pair(pair: _Pair, systems: Sequence[System], reason: str) -> list[Row]:
    rows = [Row(pair.plan.facts, MIXTURE, reason=reason)]
    for system in systems:
        for view in pair.views(system):
            lips = view if system.sees else ""
            rows.append(Row(pair.plan.facts, system.name, lips, reason=reason))
    return rows


def _scored(pending: _Pending) -> list[Row]:
    results = iter(pending.scores.result())
    rows = [row if row.reason else replace(row, after=next(results)) for row in pending.rows]
    before = rows[0].after if rows and rows[0].system == MIXTURE else None
    return [replace(row, before=before) for row in rows]


def _done(scores: list[Scores]) -> "Future[list[Scores]]":
    future: Future[list[Scores]] = Future()
    future.set_result(scores)
    return future


@contextmanager
def _scoring(n_workers: int) -> Iterator[Submit]:
    if not n_workers:
        yield lambda clean, sounds, metrics: _done(score_all(clean, sounds, metrics))
        return
    with ProcessPoolExecutor(n_workers, get_context("spawn")) as pool:
        yield lambda clean, sounds, metrics: pool.submit(score_all, clean, sounds, metrics)
