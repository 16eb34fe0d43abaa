"""From rows to tables: means with intervals, paired tests, groups and bad pairs."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from avse.evaluation.rows import Row, is_mixture, metrics_of
from avse.evaluation.significance import Difference, Mean, mean_of, paired

TESTED = ("pesq_wb", "stoi", "si_sdr_db")
STOI_LOSS = 0.01
SNR_STEP_DB = 5.0
OWN = ("", "own", "none")


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """What a line of the table is about."""

    split: str
    condition: str
    system: str
    lips: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        cell: What it is about.
        n_pairs: Pairs that were to be judged.
        n_bad: Those without any score.
        n_partial: Those that lack a value of some metric only.
        reasons: How often each reason was given, for both.
        means: By `pesq_wb_in`, `pesq_wb`, `pesq_wb_gain`, ...
        share_losing_stoi: Share of pairs that lose more than .01 STOI; None without a mixture.
    """

    cell: Cell
    n_pairs: int
    n_bad: int
    n_partial: int
    reasons: dict[str, int]
    means: dict[str, Mean]
    share_losing_stoi: float | None


@dataclass(frozen=True, slots=True)
class Test:
    """Two lines of one condition on the same pairs: first minus second."""

    metric: str
    first: Cell
    second: Cell
    difference: Difference


@dataclass(frozen=True, slots=True)
class Group:
    """Gains of one line within one group, e.g. `speaker` = `ar07`."""

    cell: Cell
    by: str
    value: str
    gains: dict[str, Mean]


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything the report shows."""

    lines: tuple[Line, ...]
    tests: tuple[Test, ...]
    groups: tuple[Group, ...]


def summarise(rows: Sequence[Row], seed: int = 0) -> Summary:
    """Lines, paired tests and groups; cells in the order in which they first appear."""
    cells: dict[Cell, list[Row]] = {}
    for row in rows:
        cells.setdefault(cell_of(row), []).append(row)
    lines = tuple(_line(cell, own, seed) for cell, own in cells.items())
    return Summary(lines, tuple(_tests(cells, seed)), tuple(_groups(cells, seed)))


def cell_of(row: Row) -> Cell:
    """The line a row belongs to."""
    return Cell(row.facts.split, row.facts.condition, row.system, row.lips)


def column_means(rows: Iterable[Row], columns: Sequence[str], seed: int) -> dict[str, Mean]:
    """Mean of each column over the rows that have it."""
    rows = list(rows)
    values = {c: [v for row in rows if (v := row.value(c)) is not None] for c in columns}
    return {column: mean_of(own, seed) for column, own in values.items()}


def _line(cell: Cell, rows: list[Row], seed: int) -> Line:
    columns = [metric + suffix for metric in metrics_of(rows) for suffix in ("_in", "", "_gain")]
    means = column_means(rows, columns, seed)
    gains = [gain for row in rows if (gain := row.value("stoi_gain")) is not None]
    losing = sum(gain < -STOI_LOSS for gain in gains) / len(gains) if gains else None
    n_bad = sum(row.after is None for row in rows)
    n_partial = sum(row.after is not None and bool(row.after.reasons) for row in rows)
    reasons = Counter(_general(row) for row in rows if row.all_reasons)
    return Line(cell, len(rows), n_bad, n_partial, dict(reasons.most_common()), means, losing)


def _general(row: Row) -> str:
    """A reason without the clip's name, so that equal ones are counted together."""
    text = row.all_reasons
    for name in (row.facts.clip, row.lips_clip):
        text = text.replace(name, "CLIP") if name else text
    return text


def _tests(cells: dict[Cell, list[Row]], seed: int) -> Iterable[Test]:
    for earlier, later in combinations(cells, 2):
        # Later system minus earlier (the mixture stands first), own lips minus others.
        is_swapped = earlier.system != later.system
        first, second = (later, earlier) if is_swapped else (earlier, later)
        if not _comparable(first, second, cells):
            continue
        for metric in TESTED:
            values = _shared_values(cells[first], cells[second], metric)
            difference = paired([a for a, _ in values], [b for _, b in values], seed)
            if values:
                yield Test(metric, first, second, difference)


def _comparable(first: Cell, second: Cell, cells: Iterable[Cell]) -> bool:
    """Own lips against others of one system; systems as they are meant to be used."""
    if (first.split, first.condition) != (second.split, second.condition):
        return False
    if first.system == second.system:
        return "own" in (first.lips, second.lips)
    return _is_main(first, cells) and _is_main(second, cells)


def _is_main(cell: Cell, cells: Iterable[Cell]) -> bool:
    """With its own lips; without any where it was never shown its own."""
    return cell.lips in OWN[:2] or (cell.lips == "none" and replace(cell, lips="own") not in cells)


def _shared_values(first: list[Row], second: list[Row], metric: str) -> list[tuple[float, float]]:
    others = {row.facts.clip: row.value(metric) for row in second}
    pairs = [(row.value(metric), others.get(row.facts.clip)) for row in first]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _groups(cells: dict[Cell, list[Row]], seed: int) -> Iterable[Group]:
    for cell, rows in cells.items():
        if is_mixture(rows[0]) or cell.lips not in OWN:
            continue
        for by, key in GROUPINGS.items():
            members: dict[str, list[Row]] = {}
            for row in rows:
                members.setdefault(key(row), []).append(row)
            for value in sorted(members, key=_in_order):
                if value:
                    columns = [f"{metric}_gain" for metric in TESTED]
                    yield Group(cell, by, value, column_means(members[value], columns, seed))


def _in_order(value: str) -> tuple[float, str]:
    """Numbers by size, `-5 to 0 dB` before `10 to 15 dB`; words after them."""
    try:
        return float(value.partition(" ")[0]), value
    except ValueError:
        return math.inf, value


def snr_bucket(row: Row) -> str:
    """The bucket of 5 dB that the row's SNR falls into, e.g. `0 to 5 dB`; its end is left out."""
    if row.facts.snr_db is None:
        return ""
    low_db = row.facts.snr_db // SNR_STEP_DB * SNR_STEP_DB
    return f"{low_db:g} to {low_db + SNR_STEP_DB:g} dB"


GROUPINGS: dict[str, Callable[[Row], str]] = {
    "SNR": snr_bucket,
    "talkers": lambda row: str(row.facts.n_talkers or ""),
    "speaker": lambda row: row.facts.speaker,
    "gender": lambda row: row.facts.gender,
    "corpus": lambda row: row.facts.corpus,
    "noise": lambda row: row.facts.noise_class,
}
