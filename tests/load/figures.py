"""Figures as a table for people and as JSON for scripts."""

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.load.running import ROOT

Row = Mapping[str, Any]
console = Console(width=150)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed; NaN of nothing."""
    if not values:
        return float("nan")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Count, mean, p50, p95, p99 and the largest, rounded to 0.1."""
    found = {
        "mean": statistics.fmean(values) if values else float("nan"),
        "p50": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
        "max": max(values, default=float("nan")),
    }
    return {"n": len(values), **{name: round(value, 1) for name, value in found.items()}}


def machine() -> dict[str, Any]:
    """Where and when it was measured, and how busy the machine was with other things."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": asked.stdout.strip(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def show(title: str, rows: Sequence[Row]) -> None:
    """Print a table; the first row names the columns."""
    table = Table(title=title, title_justify="left")
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return str(value)


def save(path: Path | None, name: str, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Put the rows under their name into a JSON file, beside what is there already."""
    if path is None:
        return
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[name] = {"about": dict(about), "rows": [dict(row) for row in rows]}
    path.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
