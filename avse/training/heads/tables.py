"""The papers' tables on UTD-MHAD: rows, runs, intervals, markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avse.training.heads.experiments import Bench
from avse.training.heads.plan import Row
from avse.training.heads.table_rows import Figure, TableRow, accuracy_chart
from models.action import SKELETON
from preprocessing.types import Progress, no_progress

N_RESAMPLES = 2000
BASELINE = "late"

ACTION_ROWS = (
    Row("action", BASELINE, "late", is_trained=False),
    Row("action", "late, trained on", "late"),
    Row("action", "SE", "se"),
    Row("action", "GMU", "gmu"),
    Row("action", "CentralNet", "centralnet"),
    Row("action", "MFAS-style", "mfas"),
    Row("action", "MSAF", "msaf"),
    Row("action", "MMTM", "mmtm"),
    Row("action", "MMTM, code form", "mmtm-code"),
    Row("action", "late, four times as long", "late", training={"n_epochs": 16}),
    Row("action", "MMTM, four times as long", "mmtm", training={"n_epochs": 16}),
)
"""Table (a): the paper's table 4. Of 4 and 16 epochs the longer was chosen on person 7."""

GESTURE_ROWS = (
    Row("gesture", BASELINE, "late", n_points=0, is_trained=False),
    Row("gesture", "late, trained on", "late", n_points=0),
    Row("gesture", "MMTM x 6", "mmtm", n_points=6),
)
"""Table (b): the paper's tables 1 and 2."""

FIGURE_ROWS = (
    Row("gesture", "late, trained on", "late", n_points=0),
    *(Row("gesture", f"MMTM x {n}", "mmtm", n_points=n) for n in (2, 4, 6, 9)),
)
"""Figure 6: accuracy over the number of MMTMs; 9 needs features cached after 3a."""

TABLES: dict[str, tuple[Row, ...]] = {
    "action": ACTION_ROWS,
    "gesture": GESTURE_ROWS,
    "figure6": FIGURE_ROWS,
}
TITLES = {
    "action": "Action: depth and skeleton",
    "gesture": "Gesture: depth and flow",
    "figure6": "Accuracy over the number of MMTMs (gesture)",
}
STREAMS = {
    "action": ("depth", SKELETON),
    "gesture": ("depth", "flow"),
    "figure6": ("depth", "flow"),
}


def rows_of(name: str, searched: Mapping[str, dict[str, Any]], cached: Sequence[str]) -> list[Row]:
    """Rows of a table, late fusion of the towers first.

    Args:
        name: Of the table.
        searched: Settings found by a search, by fusion.
        cached: Stages with features; rows that would have to start before them are left out.

    Raises:
        KeyError: There is no table of that name.
    """
    rows = TABLES[name]
    if all(row.name != BASELINE for row in rows):
        rows = (Row(rows[0].head, BASELINE, "late", n_points=0, is_trained=False), *rows)
    return [
        replace(row, settings=searched.get(row.fusion, row.settings))
        for row in rows
        if row.stage(cached) is not None
    ]


def run_table(
    bench: Bench,
    name: str,
    rows: Sequence[Row],
    seeds: Sequence[int],
    progress: Progress = no_progress,
) -> list[TableRow]:
    """Run what is missing of a table, seed by seed, and sum it up.

    Args:
        bench: Of the split.
        name: Of the table.
        rows: Its rows.
        seeds: Of every row.
        progress: Called as (stage, done, total).
    """
    results: dict[str, dict[int, dict[str, Any]]] = {}
    n_done = 0
    for seed in seeds:
        for stream in STREAMS[name]:
            results.setdefault(stream, {})[seed] = bench.alone(stream, seed, progress)
        for row in rows:
            results.setdefault(row.name, {})[seed] = bench.row(row, seed, progress)
            n_done += 1
            progress("rows", n_done, len(seeds) * len(rows))
    return summarise(results, _subjects(bench))


def gather_table(
    bench: Bench, name: str, rows: Sequence[Row], seeds: Sequence[int]
) -> list[TableRow]:
    """What has run of a table; nothing is trained."""
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in seeds:
        for stream in STREAMS[name]:
            if bench.has_tower(stream, seed):
                results.setdefault(stream, {})[seed] = bench.alone(stream, seed)
        for row in rows:
            if bench.has_run(row, seed):
                results.setdefault(row.name, {})[seed] = bench.row(row, seed)
    return summarise(results, _subjects(bench))


def summarise(
    results: Mapping[str, Mapping[int, Mapping[str, Any]]], subjects: Sequence[int]
) -> list[TableRow]:
    """Lines of a table.

    Args:
        results: A run's JSON by row and seed.
        subjects: Who acts in each scored clip.
    """
    rows = []
    for name, runs in results.items():
        names = next(iter(runs.values()))["correct"]
        outputs = {output: interval(_matrix(runs, output)) for output in names}
        gain = None
        late = results.get(BASELINE, {})
        shared = sorted(set(late) & set(runs))
        if shared and name != BASELINE:
            ours = _matrix({s: runs[s] for s in shared}, "joint")
            theirs = _matrix({s: late[s] for s in shared}, "joint")
            gain = interval(ours - theirs)
        rows.append(TableRow(name, tuple(sorted(runs)), outputs, gain, _by_subject(runs, subjects)))
    return rows


def interval(correct: NDArray[np.float64], seed: int = 0) -> Figure:
    """Percent of `[seeds, clips]` with its bootstrap interval: seeds and clips are drawn anew."""
    rng = np.random.default_rng(seed)
    n_seeds, n_clips = correct.shape
    means = np.empty(N_RESAMPLES)
    for i in range(N_RESAMPLES):
        drawn = correct[rng.integers(n_seeds, size=n_seeds)]
        means[i] = drawn[:, rng.integers(n_clips, size=n_clips)].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(float(100 * correct.mean()), float(100 * low), float(100 * high))


def to_markdown(name: str, rows: Sequence[TableRow]) -> str:
    """A table in markdown."""
    streams = STREAMS[name]
    header = ["", *(f"{stream} stream" for stream in streams), "together", "gain on late", "seeds"]
    lines = [_line(header), _line(["---"] * len(header))]
    for row in rows:
        cells = [str(row.outputs.get(output, "")) for output in (*streams, "joint")]
        gain = "" if row.gain is None else row.gain.signed
        lines.append(_line([row.name, *cells, gain, str(len(row.seeds))]))
    return "\n".join(lines) + "\n"


def save_table(folder: Path, name: str, rows: Sequence[TableRow]) -> None:
    """Write `<name>.json`, `.md` and `.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(row) for row in rows], indent=2) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(to_markdown(name, rows), encoding="utf-8")
    (folder / f"{name}.png").write_bytes(accuracy_chart(TITLES[name], rows))


def write_into(document: Path, name: str, rows: Sequence[TableRow]) -> None:
    """Replace what stands between `<!-- table: NAME -->` and `<!-- end -->` in a document.

    Raises:
        ValueError: The document has no such place.
    """
    text = document.read_text(encoding="utf-8")
    start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{document}: expected {start.strip()} and {end}, found none")
    document.write_text(before + start + to_markdown(name, rows) + end + after, encoding="utf-8")


def _matrix(runs: Mapping[int, Mapping[str, Any]], output: str) -> NDArray[np.float64]:
    return np.array([runs[seed]["correct"][output] for seed in sorted(runs)], np.float64)


def _by_subject(runs: Mapping[int, Mapping[str, Any]], subjects: Sequence[int]) -> dict[int, float]:
    per_clip = _matrix(runs, "joint").mean(0)
    who = np.asarray(subjects)
    return {int(s): round(float(100 * per_clip[who == s].mean()), 1) for s in sorted(set(subjects))}


def _subjects(bench: Bench) -> list[int]:
    return [bench.material.recordings.clips[i].subject for i in bench.clips(is_train=False)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
