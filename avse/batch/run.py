"""One batch from options to a folder of results: what `avse batch` runs."""

import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from avse.batch.errors import BatchStopped
from avse.batch.failures import FAILURES, write_failures
from avse.batch.inputs import Inputs, find_inputs
from avse.batch.ledger import Ledger, State
from avse.batch.pipeline import Pipeline, Workshop
from avse.batch.plan import PlanConfig, plan
from avse.batch.runs import CORNER, LEDGER, Run
from avse.batch.stages import Capacity, LocalStages, Stages, clips_in_call, open_enhancer
from avse.batch.tally import Tally
from avse.batch.work import SUFFIXES, Work
from avse.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from avse.device import n_cores, resolve_device
from avse.enhancer import Enhancer
from avse.errors import ConfigError
from avse.types import EnhanceOptions

FAILURES_EVERY_S = 5.0
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/")
OnChange = Callable[[Tally], None]


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What to do.

    Attributes:
        sources: Files, folders, patterns, manifests or `-`.
        out_dir: Where results go.
        suffix: What is written, as `.wav`.
        options: For clips without their own.
        bundle: Name or folder of the weights.
        detector: Name of the face detector.
        device: `auto`, `cpu` or `cuda[:N]`.
        is_flat: All outputs in one folder.
        retries_failed: Whether what failed before is tried again.
        limit: Clips to do at most.
        n_workers: Processes that read; 0: one a core.
        engine: `local`, or `ray`: on the cluster this program finds, or on one of its own.
    """

    sources: tuple[str, ...]
    out_dir: Path
    suffix: str = ".wav"
    options: EnhanceOptions = field(default_factory=EnhanceOptions)
    bundle: str | Path | Bundle = DEFAULT_BUNDLE
    detector: str = "embedded"
    device: str = "auto"
    is_flat: bool = False
    retries_failed: bool = False
    limit: int | None = None
    n_workers: int = 0
    engine: Literal["local", "ray"] = "local"

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ConfigError: A value is outside its range.
        """
        if self.suffix not in SUFFIXES:
            raise ConfigError(f"output: expected one of {', '.join(SUFFIXES)}, got {self.suffix}")
        if self.n_workers < 0 or (self.limit is not None and self.limit < 1):
            raise ConfigError("workers and limit: expected 0 or more and 1 or more")
        if _URL.match(str(self.out_dir)):
            wanted = "a folder (a bucket can be mounted as one)"
            raise ConfigError(f"out: expected {wanted}, found the URL {self.out_dir}")
        if self.engine == "ray" and find_spec("ray") is None:
            raise ConfigError("engine: ray is not installed: ./setup.sh ray")


@dataclass(frozen=True, slots=True)
class Planned:
    """A line of a trial run."""

    state: State
    work: Work


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came out.

    Attributes:
        tally: Counts.
        is_interrupted: Whether it was asked to stop.
        failures: The list of clips without a result, None if there are none.
        notes: Sentences about the inputs.
        planned: What would be done, of a trial run.
    """

    tally: Tally
    is_interrupted: bool = False
    failures: Path | None = None
    notes: tuple[str, ...] = ()
    planned: tuple[Planned, ...] = ()


def run_batch(
    options: BatchOptions,
    on_change: OnChange = lambda tally: None,
    *,
    lines: Iterable[str] = (),
) -> BatchResult:
    """Enhance every clip that has no result yet.

    Args:
        options: What to do.
        on_change: Told the counts several times a second.
        lines: Standard input, for the source `-`.

    Raises:
        InvalidBatch: The inputs are not as they should be; nothing was done.
        BatchStopped: It could not go on; what was done stays done.
        ModelError: The bundle or the device cannot be used.
        OSError: The output folder cannot be written.
    """
    inputs = find_inputs(options.sources, options.out_dir, lines)
    bundle = _opened(options.bundle)
    run = Run(options.out_dir)
    try:
        ledger = _ledger(options)
        try:
            return _run(options, inputs, bundle, run, ledger, on_change)
        finally:
            ledger.release(run.id)
            ledger.close()
    except sqlite3.OperationalError as error:
        raise BatchStopped(f"the record of the batch cannot be written: {error}") from error
    finally:
        run.close()


def plan_batch(options: BatchOptions, *, lines: Iterable[str] = ()) -> BatchResult:
    """What `run_batch` would do; nothing is written.

    Raises:
        InvalidBatch: The inputs are not as they should be.
        ModelError: The bundle cannot be used.
    """
    inputs = find_inputs(options.sources, options.out_dir, lines)
    ledger = _ledger(options, is_trial=True)
    try:
        works = _planned(options, inputs, _opened(options.bundle), ledger)
        planned = tuple(Planned(ledger.standing(work).state, work) for work in works)
    finally:
        ledger.close()
    states = [each.state for each in planned]
    n_begun = states.count("todo")
    n_left = max(0, n_begun - options.limit) if options.limit else 0
    tally = Tally(
        len(planned), n_skipped=states.count("done"), n_failed_before=states.count("failed"),
        n_left=n_left,
    )  # fmt: skip
    return BatchResult(tally, notes=inputs.notes, planned=planned)


def _ledger(options: BatchOptions, *, is_trial: bool = False) -> Ledger:
    return Ledger(
        options.out_dir / CORNER / LEDGER,
        options.out_dir,
        retries_failed=options.retries_failed,
        is_trial=is_trial,
    )


def _opened(bundle: str | Path | Bundle) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else load_bundle(bundle)


def _planned(options: BatchOptions, inputs: Inputs, bundle: Bundle, ledger: Ledger) -> list[Work]:
    named = bundle.identity
    config = PlanConfig(options.options, options.suffix, options.is_flat, named, options.detector)
    return plan(inputs.listed, config, ledger)


def _run(
    options: BatchOptions,
    inputs: Inputs,
    bundle: Bundle,
    run: Run,
    ledger: Ledger,
    on_change: OnChange,
) -> BatchResult:
    run.bury_dead(ledger.release)
    works = _planned(options, inputs, bundle, ledger)
    tally = Tally(len(works))
    todo = _todo(works, ledger, tally)
    failures = _FailureList(options.out_dir / FAILURES, ledger, run.folder)
    is_stopped = threading.Event()
    if todo:
        shop = Workshop(
            _enhancer(options, bundle), ledger, run, options.out_dir, tally,
            _both(on_change, failures.refresh), is_stopped,
        )  # fmt: skip
        with _interruptible(is_stopped):
            stages, capacity = _stages(options, shop)
            try:
                Pipeline(shop, stages, capacity).run(todo)
            finally:
                stages.close()
                failures.write()
    failures.write()
    on_change(tally)
    listed = failures.path if failures.path.is_file() else None
    return BatchResult(tally, is_stopped.is_set(), listed, inputs.notes)


def _todo(works: Sequence[Work], ledger: Ledger, tally: Tally) -> list[tuple[Work, int]]:
    """Work that is not settled, with its size; the rest is counted."""
    todo = []
    for work in works:
        state = ledger.standing(work).state
        tally.n_skipped += state == "done"
        tally.n_failed_before += state == "failed"
        if state not in ("done", "failed"):
            todo.append((work, _size(work.source)))
    tally.bytes_total = sum(n_bytes for _, n_bytes in todo)
    return todo


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it says what is wrong


def _enhancer(options: BatchOptions, bundle: Bundle) -> Enhancer:
    """The enhancer; on a CPU half of the cores are the network's, the rest is for reading."""
    # With Ray the actors have the device, and this one only says how clips are read.
    device = resolve_device("cpu" if options.engine == "ray" else options.device)
    if device.type == "cpu":
        torch.set_num_threads(max(1, n_cores() // 2))
    return open_enhancer(bundle, str(device), options.detector)


def _stages(options: BatchOptions, shop: Workshop) -> tuple[Stages, Capacity]:
    """Who does the work, and how much at once."""
    if options.engine == "ray":
        kind = import_module("avse.batch.ray_stages").RayStages  # ray is an extra
        cluster = kind(shop, options.detector, options.device, options.n_workers)
        return cluster, replace(cluster.capacity, limit=options.limit)
    max_clips = clips_in_call(shop.enhancer.device)
    n_readers = options.n_workers or n_cores()
    n_ahead = max(2 * max_clips, 4) + n_readers
    capacity = Capacity(n_readers, max_clips, n_ahead, limit=options.limit)
    return LocalStages(shop.enhancer, capacity, shop.out_dir, shop.run.folder), capacity


def _both(first: OnChange, second: Callable[[], None]) -> OnChange:
    def tell(tally: Tally) -> None:
        first(tally)
        second()

    return tell


@dataclass(slots=True)
class _FailureList:
    """The list of failures, kept up to date while the batch runs."""

    path: Path
    ledger: Ledger
    folder: Path
    _written_s: float = field(default_factory=time.monotonic)

    def refresh(self) -> None:
        """Write it, if that was some seconds ago."""
        if time.monotonic() - self._written_s > FAILURES_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write it."""
        self._written_s = time.monotonic()
        write_failures(self.path, self.ledger.failures(), self.folder)


@contextmanager
def _interruptible(is_stopped: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set the event; a second one stops at once. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        if is_stopped.is_set():
            raise KeyboardInterrupt
        is_stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
