"""One row for each pair and system: what was done, before, after, or why not."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from avse.evaluation.dnsmos import DNSMOS
from avse.evaluation.metrics import METRICS, Scores
from avse.evaluation.systems import MIXTURE
from avse.evaluation.trials import TrialFacts


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one system on one pair.

    Attributes:
        facts: Of the pair.
        system: Whose output.
        lips: Which mouth it was shown (a `LipsControl`), empty where it sees none.
        lips_clip: The clip that mouth comes from.
        seen: Share of pictures with a visible mouth.
        duration_s: Length of the pair.
        before: Scores of the mixture; None where there is none.
        after: Scores of the output; None where the pair is bad.
        reason: Why the pair is bad, empty where it is not.
    """

    facts: TrialFacts
    system: str
    lips: str = ""
    lips_clip: str = ""
    seen: float = 0.0
    duration_s: float = 0.0
    before: Scores | None = None
    after: Scores | None = None
    reason: str = ""

    def value(self, column: str) -> float | None:
        """A metric after (`stoi`), before (`stoi_in`) or what was gained (`stoi_gain`)."""
        metric = column.removesuffix("_in").removesuffix("_gain")
        after = self.after[metric] if self.after else None
        before = self.before[metric] if self.before else None
        if column.endswith("_in"):
            return before
        if not column.endswith("_gain"):
            return after
        return after - before if after is not None and before is not None else None

    @property
    def all_reasons(self) -> str:
        """Why the pair or single metrics have no value."""
        single = self.after.reasons if self.after else {}
        parts = [self.reason] if self.reason else []
        return "; ".join(parts + [f"{metric}: {why}" for metric, why in single.items()])

    def flat(self, metrics: Sequence[str] = METRICS) -> dict[str, Any]:
        """The row as one level of names and plain values."""
        known = asdict(self.facts) | {"sources": " ".join(self.facts.sources)}
        more = {
            "system": self.system,
            "lips": self.lips,
            "lips_clip": self.lips_clip,
            "seen": round(self.seen, 4),
            "duration_s": round(self.duration_s, 4),
        }
        columns = [metric + suffix for metric in metrics for suffix in ("_in", "", "_gain")]
        return known | more | {c: self.value(c) for c in columns} | {"reason": self.all_reasons}


def is_mixture(row: Row) -> bool:
    """Whether the row is the mixture itself (doing nothing)."""
    return row.system == MIXTURE


def metrics_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """`METRICS`, and DNSMOS where it was judged."""
    judged = {name for row in rows if row.after is not None for name in row.after.values}
    return (*METRICS, *(name for name in DNSMOS if name in judged))


def rows_csv(rows: Sequence[Row]) -> str:
    """All rows as CSV with a header; empty cells where there is no value."""
    text = io.StringIO()
    metrics = metrics_of(rows)
    flat = [row.flat(metrics) for row in rows]
    if flat:
        writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    return text.getvalue()
