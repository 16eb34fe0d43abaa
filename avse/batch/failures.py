"""`OUT/failures.jsonl`: every clip without a result, and why."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from avse.batch.ledger import FailedClip

FAILURES = "failures.jsonl"


def write_failures(path: Path, failed: Sequence[FailedClip], folder: Path) -> None:
    """Write the list, whole or not at all; without failures there is no file.

    Args:
        path: The list.
        failed: Its lines.
        folder: For the file that is not finished.
    """
    if not failed:
        path.unlink(missing_ok=True)
        return
    part = folder / FAILURES
    part.write_text("".join(_line(each) for each in failed), encoding="utf-8")
    part.replace(path)


def _line(failed: FailedClip) -> str:
    fields = asdict(failed)
    time = datetime.fromtimestamp(fields.pop("ended_s"), UTC).isoformat(timespec="seconds")
    return json.dumps({**fields, "time": time}, ensure_ascii=False) + "\n"
