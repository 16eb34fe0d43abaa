"""Lines of a table, and their picture."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.figure


@dataclass(frozen=True, slots=True)
class Figure:
    """Percent with a 95 % interval over seeds and clips together.

    Attributes:
        mean: Over seeds and clips.
        low: Lower end.
        high: Upper end.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """E.g. `83.7 (80.1 to 86.9)`."""
        return f"{self.mean:.1f} ({self.low:.1f} to {self.high:.1f})"

    @property
    def signed(self) -> str:
        """E.g. `+2.1 (-0.3 to +4.4)`."""
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of a table.

    Attributes:
        name: Of the row.
        seeds: Which ran.
        outputs: Accuracy of `joint` and of each stream.
        gain: Joint accuracy less that of late fusion of the same towers, paired.
        subjects: Joint accuracy of each scored subject.
    """

    name: str
    seeds: tuple[int, ...]
    outputs: Mapping[str, Figure]
    gain: Figure | None
    subjects: Mapping[int, float]


def accuracy_chart(title: str, rows: Sequence[TableRow]) -> bytes:
    """Accuracy of every output, one group of points a row, with its intervals; a PNG."""
    figure = matplotlib.figure.Figure(figsize=(1.6 + 1.1 * len(rows), 4.0), layout="constrained")
    axis = figure.subplots()
    outputs = list(dict.fromkeys(name for row in rows for name in row.outputs))
    for index, output in enumerate(outputs):
        places = [place for place, row in enumerate(rows) if output in row.outputs]
        figures = [rows[place].outputs[output] for place in places]
        means = [x.mean for x in figures]
        errors = [[x.mean - x.low for x in figures], [x.high - x.mean for x in figures]]
        shifted = [place + 0.15 * (index - (len(outputs) - 1) / 2) for place in places]
        label = "together" if output == "joint" else f"{output} stream"
        axis.errorbar(shifted, means, errors, fmt="o", capsize=3, label=label)
    axis.set(title=title, ylabel="accuracy (%)")
    axis.set_xticks(range(len(rows)), [row.name for row in rows], rotation=20, ha="right")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
