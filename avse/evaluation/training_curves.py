"""Training curves from the logs that runs keep."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avse.evaluation.charts import COLOURS, png
from avse.evaluation.errors import EvaluationError

LEARNT = ("accuracy", "snr", "snr_gain", "si_sdr", "score")
N_COLUMNS = 3


def training_curves(runs: Sequence[Path]) -> bytes | None:
    """One panel for each figure of training and of validation, a colour a run.

    Args:
        runs: Run folders with a `log.jsonl`.

    Returns:
        A PNG; None without runs.

    Raises:
        EvaluationError: A run keeps no log, or one that is not JSON lines.
    """
    if not runs:
        return None
    logs = {title: read_log(run) for title, run in zip(run_titles(runs), runs, strict=True)}
    names = shown_figures(logs.values())
    n_rows = -(-len(names) // N_COLUMNS)
    figure = Figure(figsize=(4.2 * N_COLUMNS, 3.4 * n_rows), layout="constrained")
    for index, name in enumerate(names):
        _draw(figure.add_subplot(n_rows, N_COLUMNS, index + 1), name, logs)
    return png(figure)


def run_titles(runs: Sequence[Path]) -> list[str]:
    """The runs' names, with their folders' where two have the same."""
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{run.absolute().parent.name}/{name}"
        for name, run in zip(names, runs, strict=True)
    ]


def _draw(axis: Axes, name: str, logs: dict[str, list[dict[str, Any]]]) -> None:
    for index, (run, log) in enumerate(logs.items()):
        points = [(line["step"], line[name]) for line in log if name in line]
        if points:
            colour = COLOURS[index % len(COLOURS)]
            axis.plot(*zip(*points, strict=True), ".-", color=colour, label=run)
    axis.set(title=f"training: {name}" if name in LEARNT else name, xlabel="step")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def read_log(run: Path) -> list[dict[str, Any]]:
    """Lines of a run's log.

    Raises:
        EvaluationError: There is none, or it is not JSON lines.
    """
    path = run / "log.jsonl"
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: expected the log of a training run: {error}") from error


def shown_figures(logs: Iterable[list[dict[str, Any]]]) -> list[str]:
    """What training saw, then what validation measured: STOI after, matches of the lips."""
    names = list(dict.fromkeys(name for log in logs for line in log for name in line))
    learnt = [name for name in LEARNT if name in names]
    measured = [name for name in names if name.endswith((".stoi", "own_clip", "in_sync"))]
    return (learnt or ["loss"]) + measured[:5]
