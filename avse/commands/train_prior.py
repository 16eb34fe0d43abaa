"""`avse train mouth-prior`: what to show the enhancer while the mouth is hidden."""

from pathlib import Path
from typing import Annotated

import typer

from avse.commands.console import Bars, make_table, say, show


def train_mouth_prior(
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data", exists=True, file_okay=False, metavar="DIR",
            help="Folder with av.csv and audio.csv.",
        ),
    ],
    work_dir: Annotated[
        Path,
        typer.Option(
            "--work", exists=True, file_okay=False, metavar="DIR",
            help="Run folder of `avse train avse`: its crops, lip features and sounds are read.",
        ),
    ] = Path("runs/avse"),
    out_dir: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Figures and weights.")
    ] = Path("runs/mouth-prior"),
    model: Annotated[str, typer.Option(help="Name or folder of the enhancer.")] = "avse-mmtm",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="One setting; may stand several times."),
    ] = None,
) -> None:  # fmt: skip
    """Learn priors of hidden lips for an enhancer, and compare them with its embedding."""
    from avse.bundle import find_bundle
    from avse.config import load_config
    from avse.training.mouth_prior import MouthPriorTraining, read_material, run_comparison
    from models.avse_net import AvseNet
    from models.registry import open_bundle

    config = load_config(MouthPriorTraining, None, overrides or [])
    net = open_bundle(find_bundle(model))[1]
    if not isinstance(net, AvseNet) or not net.sees:
        raise typer.BadParameter(f"--model: expected an enhancer that sees, found {model}")
    material = read_material(data_dir, work_dir, net, config)
    with Bars() as bars:
        table = run_comparison(net, material, out_dir, config, bars)
    lines = [
        [group, name, f"{row['stoi']:.4f}", f"{row['stoi_over_baseline']:+.4f}",
         f"{row['si_sdr_gain']:.2f}", f"{row['si_sdr_gain_over_baseline']:+.2f}"]
        for group, ways in table.items()
        for name, row in ways.items()
    ]  # fmt: skip
    columns = ["condition", "hidden mouth", "STOI", "over learned", "SI-SDR gain", "over learned"]
    show(make_table("A hidden mouth", columns, lines, n_text=2))
    say(f"  {out_dir / 'hidden_mouth.json'}")
