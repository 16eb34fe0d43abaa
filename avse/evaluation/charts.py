"""Pictures of an evaluation, as PNG bytes."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avse.evaluation.disturbances import DISTURBANCES
from avse.evaluation.rows import Row, is_mixture
from avse.evaluation.summary import cell_of, snr_bucket

CHARTED = {"pesq_wb": "PESQ-WB", "stoi": "STOI", "si_sdr_db": "SI-SDR (dB)"}
COLOURS = ("#1f6fb4", "#d9822b", "#2e9e5b", "#8e44ad", "#c8442f", "#5b6770", "#b59f00", "#17a2a2")
N_BINS = 6


def gain_over_snr(rows: Sequence[Row]) -> bytes:
    """Mean gain over the mixture's SNR, one line a system, one panel a metric.

    A system is drawn with its own lips, or without any where it was only shown none.

    Rows at one SNR are one point; a range is cut into equal bins.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, len(CHARTED))
    lines = _lines(rows)
    for axis, (metric, title) in zip(axes, CHARTED.items(), strict=True):
        for index, (name, own) in enumerate(lines.items()):
            x, y, error = _curve(own, f"{metric}_gain")
            colour = COLOURS[index % len(COLOURS)]
            axis.errorbar(x, y, error, marker="o", capsize=3, color=colour, label=name)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set(title=f"{title}: gain", xlabel="SNR of the mixture (dB)")
        axis.grid(alpha=0.3)
    if lines:
        axes[0].legend(fontsize=8)
    return png(figure)


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    heard = [row for row in rows if not is_mixture(row) and row.facts.snr_db is not None]
    lines: dict[str, list[Row]] = {}
    for row in heard:
        if row.lips in ("", "own"):
            lines.setdefault(row.system, []).append(row)
    seen = set(lines)
    for row in heard:
        if row.lips == "none" and row.system not in seen:
            lines.setdefault(f"{row.system}, no lips", []).append(row)
    return lines


def _curve(rows: list[Row], column: str) -> tuple[list[float], list[float], list[float]]:
    points = [(row.facts.snr_db or 0.0, row.value(column)) for row in rows]
    known = np.array([(snr_db, gain) for snr_db, gain in points if gain is not None])
    if not len(known):
        return [], [], []
    levels = np.unique(known[:, 0])
    if len(levels) > N_BINS:
        edges = np.linspace(levels[0], levels[-1], N_BINS + 1)
        places = np.clip(np.digitize(known[:, 0], edges) - 1, 0, N_BINS - 1)
    else:
        places = np.searchsorted(levels, known[:, 0])
    groups = [known[places == place] for place in np.unique(places)]
    errors = [float(1.96 * g[:, 1].std() / np.sqrt(len(g))) for g in groups]
    x = [float(g[:, 0].mean()) for g in groups]
    return x, [float(g[:, 1].mean()) for g in groups], errors


def before_after(rows: Sequence[Row]) -> bytes:
    """One dot for each pair: before on the x axis, after on the y axis; above the line is better.

    Each system with each control of the lips has its colour.
    """
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots(1, len(CHARTED))
    heard = [row for row in rows if not is_mixture(row) and ":" not in row.lips]
    names = list(dict.fromkeys((row.system, row.lips) for row in heard))
    for axis, (metric, title) in zip(axes, CHARTED.items(), strict=True):
        for index, name in enumerate(names):
            own = [row for row in heard if (row.system, row.lips) == name]
            dots = [(row.value(f"{metric}_in"), row.value(metric)) for row in own]
            points = np.array([dot for dot in dots if None not in dot], float).reshape(-1, 2)
            label = " ".join(name).strip()
            colour = COLOURS[index % len(COLOURS)]
            axis.scatter(points[:, 0], points[:, 1], s=9, alpha=0.55, color=colour, label=label)
        known = [x for row in heard if (x := row.value(f"{metric}_in")) is not None]
        if known:
            middle = float(np.median(known))
            axis.axline((middle, middle), slope=1, color="black", linewidth=0.8)
        axis.set(title=title, xlabel="before", ylabel="after")
        axis.grid(alpha=0.3)
    if names:
        axes[0].legend(fontsize=8, markerscale=2)
    return png(figure)


def gain_over_disturbance(rows: Sequence[Row], metric: str = "stoi") -> bytes:
    """Mean gain over what happened to the sight of the mouth, one panel each.

    The dashed line is the same system without any lips: sight should never leave it below that.
    """
    clips = {row.facts.clip for row in rows if ":" in row.lips}
    rows = [row for row in rows if row.facts.clip in clips]
    kinds = {row.lips.partition(":")[0] for row in rows}
    names = [name for name in DISTURBANCES if name in kinds]
    n_columns = min(4, len(names))
    n_lines = -(-len(names) // max(1, n_columns))
    figure = Figure(figsize=(3.4 * n_columns, 3.1 * n_lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(n_lines, n_columns, sharey=True)).ravel()
    systems = list(dict.fromkeys(row.system for row in rows if row.lips))
    for axis, name in zip(axes, names, strict=False):
        for index, system in enumerate(systems):
            own = [row for row in rows if row.system == system]
            _disturbance_curve(axis, own, name, (f"{metric}_gain", COLOURS[index % len(COLOURS)]))
        axis.axhline(0, color="black", linewidth=0.8)
        axis.set(xlabel=DISTURBANCES[name].title)
        axis.grid(alpha=0.3)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    axes[0].set_ylabel(f"{CHARTED[metric]}: gain")
    axes[0].legend(fontsize=8)
    return png(figure)


def _disturbance_curve(axis: Axes, rows: list[Row], name: str, drawn: tuple[str, str]) -> None:
    column, colour = drawn
    points = [(_strength(row, name), row.value(column)) for row in rows]
    known = np.array([point for point in points if None not in point], float).reshape(-1, 2)
    groups = [known[known[:, 0] == strength] for strength in np.unique(known[:, 0])]
    errors = [1.96 * group[:, 1].std() / np.sqrt(len(group)) for group in groups]
    means = [group.mean(0) for group in groups]
    label = rows[0].system
    axis.errorbar(
        [m[0] for m in means], [m[1] for m in means], errors,
        marker="o", capsize=3, color=colour, label=label,
    )  # fmt: skip
    blind = [gain for row in rows if row.lips == "none" and (gain := row.value(column)) is not None]
    if blind:
        axis.axhline(float(np.mean(blind)), color=colour, linestyle="--", label=f"{label}, no lips")


def _strength(row: Row, name: str) -> float | None:
    """How strong a disturbance was; own lips are its zero point."""
    kind, _, strength = row.lips.partition(":")
    if kind == name:
        return float(strength)
    return DISTURBANCES[name].none if row.lips == "own" else None


def charts(rows: Sequence[Row]) -> dict[str, bytes]:
    """All pictures by file name: one scatter for each condition, one curve for each split."""
    pictures: dict[str, bytes] = {}
    for split in dict.fromkeys(row.facts.split for row in rows):
        own = [row for row in rows if row.facts.split == split]
        if any(snr_bucket(row) and not is_mixture(row) for row in own):
            pictures[f"gain-over-snr-{split}.png"] = gain_over_snr(own)
        for condition in dict.fromkeys(cell_of(row).condition for row in own):
            some = [row for row in own if row.facts.condition == condition]
            if any(row.before and not is_mixture(row) for row in some):
                pictures[f"before-after-{split}-{condition}.png"] = before_after(some)
            if any(":" in row.lips for row in some):
                pictures[f"robustness-{split}-{condition}.png"] = gain_over_disturbance(some)
    return pictures


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
