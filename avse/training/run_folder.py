"""A run on disk: what was asked, what happened, and where to go on from."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch


class RunFolder:
    """Config, JSON-lines log and atomic checkpoint of one training run."""

    def __init__(self, path: Path) -> None:
        """Open (and create) the folder."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def describe(self, config: object, seed: int) -> None:
        """Write the resolved config, the code's commit and the seed."""
        settings = asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
        description = {"config": settings, "seed": seed, "commit": code_version()}
        text = json.dumps(description, indent=2, default=str) + "\n"
        (self.path / "run.json").write_text(text, encoding="utf-8")

    def record(self, **figures: Any) -> None:
        """Append one line to `log.jsonl`."""
        line = json.dumps({"time": round(time.time(), 1), **figures})
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")

    def save(self, state: Mapping[str, Any], name: str = "checkpoint.pt") -> None:
        """Replace the checkpoint; a kill leaves the old one or the new one."""
        partial = self.path / f".{name}.{os.getpid()}"
        torch.save(dict(state), partial)
        partial.replace(self.path / name)

    def load(self, name: str = "checkpoint.pt") -> dict[str, Any] | None:
        """The last checkpoint, or None at the start of a run."""
        path = self.path / name
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


def code_version() -> str:
    """The commit the code stands at, or `unknown` outside a checkout."""
    here = Path(__file__).parent
    answer = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or "unknown"
