"""What a recognition head found, on the screen: the same for a local clip and a server's answer."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from avse.commands.console import make_table, say, show

COLUMNS = ["label", "from", "to", "score", "next"]


def show_segments(found: Mapping[str, Any], *, is_json: bool) -> None:
    """Print segments as a table, or everything as JSON; notes go to stderr.

    Args:
        found: `{model, duration, segments, streams, notes}`, as the HTTP interface answers.
        is_json: Whether to print JSON.
    """
    if is_json:
        say(json.dumps(dict(found), indent=2, ensure_ascii=False))
        return
    for note in found["notes"]:
        typer.echo(f"avse: {note}", err=True)
    if not found["segments"]:
        say("no segment above the threshold")
        return
    seen = " and ".join(found["streams"])
    title = f"{found['duration']:.2f} s, {found['model']} by {seen}"
    show(make_table(title, COLUMNS, [_row(each) for each in found["segments"]]))


def _row(segment: Mapping[str, Any]) -> list[str]:
    return [
        str(segment["label"]),
        f"{segment['start']:.2f} s",
        f"{segment['end']:.2f} s",
        f"{segment['score']:.2f}",
        _others(segment["top_k"][1:3]),
    ]


def _others(labels: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['label']} {each['score']:.2f}" for each in labels)
