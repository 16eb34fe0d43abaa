"""Where a result comes from: code, bundles, data and settings."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from avse import __version__

SCORERS = ("pesq", "pystoi", "numpy", "torch")


def git_commit() -> str:
    """Commit of the checkout this file is tracked in, `+changes` if it differs, else `unknown`."""
    here = Path(__file__)
    if not _git(here.parent, "ls-files", here.name):
        return "unknown"
    changes = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    commit = _git(here.parent, "rev-parse", "HEAD") or "unknown"
    return f"{commit}+changes" if changes else commit


def provenance(**settings: Any) -> dict[str, Any]:
    """Facts for the head of a report: date, code, versions, and the settings given."""
    code = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "commit": git_commit()}
    versions = [f"{name} {_version(name)}" for name in SCORERS]
    known = {"avse": __version__, "python": platform.python_version(), "packages": versions}
    return code | settings | known


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
