"""Training curves from the logs that runs keep."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from avse.evaluation.charts import COLOURS, png
from avse.evaluation.errors import EvaluationError

LEARNT = ("accuracy", "si_sdr", "score")


def training_curves(runs: Sequence[Path]) -> bytes | None:
    """One panel for what training saw and one for each figure of validation, a colour a run.

    Args:
        runs: Run folders with a `log.jsonl`.

    Returns:
        A PNG; None without runs.

    Raises:
        EvaluationError: A run keeps no log, or one that is not JSON lines.
    """
    if not runs:
        return None
    logs = {run.name: read_log(run) for run in runs}
    names = _validated(logs.values())
    figure = Figure(figsize=(4.2 * (1 + len(names)), 3.4), layout="constrained")
    axes = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    for index, (run, log) in enumerate(logs.items()):
        colour = COLOURS[index % len(COLOURS)]
        learnt = next((name for name in LEARNT if any(name in line for line in log)), "loss")
        for axis, name in zip(axes, (learnt, *names), strict=True):
            points = [(line["step"], line[name]) for line in log if name in line]
            axis.plot(*zip(*points, strict=True), ".-", color=colour, label=run) if points else None
            axis.set(title="training" if axis is axes[0] else name, xlabel="step")
            axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return png(figure)


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


def _validated(logs: Any) -> list[str]:
    """What validation measured: STOI after, and the share of matches of the lips."""
    names = [name for log in logs for line in log for name in line]
    wanted = [n for n in names if n.endswith((".stoi", "own_clip", "in_sync"))]
    return list(dict.fromkeys(wanted))[:4]
