"""Cells of the digits table: trained once, kept as JSON, summed up over seeds."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from avse.config import from_mapping, resolved
from avse.training.digits.config import METHODS, DigitsConfig, Method
from avse.training.digits.fitting import Fitting, accuracy
from avse.training.digits.networks import DigitNet
from avse.training.digits.protocol import DigitTask, draw_task
from avse.training.digits.recordings import DigitCorpus, read_digits
from avse.training.run_folder import code_version
from preprocessing.types import Progress, no_progress

log = logging.getLogger(__name__)

WITHOUT = "without sound"
TESTS = (WITHOUT, "original", "disjoint")
ALWAYS_WHOLE: tuple[Method, ...] = ("image", "full")
"""Methods that do not depend on the share: no sound at all, and all of it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training: what, with how much sound, from which seed."""

    method: Method
    share: float
    seed: int

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.method}-{100 * self.share:g}-{self.seed}"


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a training came to.

    Attributes:
        cell: Which.
        accuracy: Percent, by test: without sound, and with that of known (`original`) and of
            unknown speakers (`disjoint`).
        n_complete: Training pairs that had sound.
        seconds: Of training.
        commit: Of the code.
    """

    cell: Cell
    accuracy: dict[str, float]
    n_complete: int
    seconds: float
    commit: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds with its 95 % interval (Student's t).

    Attributes:
        mean: NaN where there is nothing.
        low: Lower end; NaN with a single seed.
        high: Upper end.
        n: Seeds.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero; for differences."""
        return self.low > 0 or self.high < 0


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of independent values."""
    n_values = len(values)
    if not n_values:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    if n_values == 1:
        return Estimate(mean, math.nan, math.nan, 1)
    error = float(np.std(values, ddof=1)) / math.sqrt(n_values)
    reach = float(stats.t.ppf(0.975, n_values - 1)) * error
    return Estimate(mean, mean - reach, mean + reach, n_values)


def table_cells(
    shares: Sequence[float], seeds: Sequence[int], methods: Sequence[Method] = METHODS
) -> Iterator[Cell]:
    """All cells of a table, a whole seed before the next one."""
    for seed in seeds:
        for method in methods:
            if method in ALWAYS_WHOLE:
                yield Cell(method, 1.0, seed)
        for share in shares:
            for method in methods:
                if method not in ALWAYS_WHOLE:
                    yield Cell(method, share, seed)


class DigitsBench:
    """Runs cells and keeps what came out; what is there is not run again.

    A folder belongs to one configuration: another one is refused.
    """

    def __init__(self, data_dir: Path, folder: Path, config: DigitsConfig) -> None:
        """Open the folder; the recordings are read when the first cell has to be trained.

        Raises:
            FileExistsError: The folder holds results of other settings.
        """
        self.data_dir, self.folder, self.config = data_dir, folder, config
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "settings.json"
        text = json.dumps(resolved(config), indent=2) + "\n"
        if settings.is_file() and settings.read_text(encoding="utf-8") != text:
            raise FileExistsError(17, "results of other settings; take another --out", settings)
        settings.write_text(text, encoding="utf-8")
        self.commit = code_version()
        torch.set_num_threads(config.n_threads)
        self._corpus: DigitCorpus | None = None
        self._fitting: tuple[tuple[float, int], Fitting, DigitTask] | None = None

    def has(self, cell: Cell) -> bool:
        """Whether a cell has been trained."""
        return (self.folder / f"{cell.name}.json").is_file()

    def result(self, cell: Cell, progress: Progress = no_progress) -> CellResult:
        """Read a cell, or train it."""
        path = self.folder / f"{cell.name}.json"
        if path.is_file():
            return read_result(path)
        started = time.monotonic()
        fitting, task = self._open(cell, progress)
        net = fitting.fit(cell.method)
        seconds = time.monotonic() - started
        result = CellResult(
            cell, _scores(net, task), len(fitting.complete), round(seconds, 1), self.commit
        )
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
        log.info("%s: %s", cell.name, result.accuracy)
        return result

    def _open(self, cell: Cell, progress: Progress) -> tuple[Fitting, DigitTask]:
        """The draw of this seed and share; methods that follow each other share the sound tower."""
        key = (cell.share, cell.seed)
        if self._fitting is None or self._fitting[0] != key:
            if self._corpus is None:
                self._corpus = read_digits(self.data_dir)
            task = draw_task(self._corpus, cell.share, cell.seed, self.config.protocol)
            last = self._fitting[1] if self._fitting else None
            known = last.trained_image if last and last.seed == cell.seed else None
            fitting = Fitting(task.train, self.config, cell.seed, progress, known)
            self._fitting = key, fitting, task
        return self._fitting[1], self._fitting[2]


def read_result(path: Path) -> CellResult:
    """A cell's JSON.

    Raises:
        ConfigError: It is not one.
    """
    return from_mapping(CellResult, json.loads(path.read_text(encoding="utf-8")), str(path))


def run_cells(
    bench: DigitsBench, cells: Sequence[Cell], progress: Progress = no_progress
) -> list[CellResult]:
    """Results of all cells, trained where they are missing."""
    results = []
    for n_done, cell in enumerate(cells, 1):
        results.append(bench.result(cell))
        progress("trainings", n_done, len(cells))
    return results


def gather(
    results: Sequence[CellResult], choose: Callable[[Cell], bool], test: str
) -> dict[int, float]:
    """Accuracy by seed of the cells that are chosen."""
    return {r.cell.seed: r.accuracy[test] for r in results if choose(r.cell)}


def _scores(net: DigitNet, task: DigitTask) -> dict[str, float]:
    scores = {WITHOUT: accuracy(net, task.tests["original"], with_sound=False)}
    for name, pairs in task.tests.items():
        scores[name] = accuracy(net, pairs, with_sound=True)
    return {name: round(value, 3) for name, value in scores.items()}
