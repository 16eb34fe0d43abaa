"""Options that several commands share, word for word."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Mode = Annotated[
    Literal["auto", "av", "audio_only"],
    typer.Option(help="auto goes by sound alone where no mouth is seen; av insists on one."),
]
Strength = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="0 changes nothing, 1 applies the whole mask.")
]
Rate = Annotated[
    Literal["16000", "input"],
    typer.Option(help="Samples a second of the output; input keeps the clip's own."),
]
Weights = Annotated[
    str | None, typer.Option(help="Name or folder of the weights; see `avse models`.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Head = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Which head, if not the usual one.")
]
TopK = Annotated[int, typer.Option("--top-k", min=1, max=100, help="Labels told for each segment.")]
WindowS = Annotated[
    float | None,
    typer.Option(
        "--window", metavar="SECONDS", min=0.2, max=60, help="Seen at a time. Default: the head's."
    ),
]
StrideS = Annotated[
    float | None,
    typer.Option(
        "--stride", metavar="SECONDS", min=0.1, max=60, help="Between windows. Default: the head's."
    ),
]
Threshold = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Segments that score less are left out.")
]
Skeleton = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Joints [T, J, 3] in metres, .npy or .npz."),
]
Picture = Annotated[
    Literal["auto", "depth", "colour"],
    typer.Option(help="What the pictures are; auto tells depth by its missing colour."),
]
IsJson = Annotated[bool, typer.Option("--json", help="As the HTTP interface answers.")]
DataOption = Annotated[
    Path,
    typer.Option(
        "--data", exists=True, file_okay=False, metavar="DIR",
        help="Folder with av.csv and audio.csv, or a VoxCeleb2-like tree.",
    ),
]  # fmt: skip
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--config", exists=True, dir_okay=False, metavar="RECIPE.toml",
        help="Settings that differ from the defaults.",
    ),
]  # fmt: skip
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="One setting; may stand several times."),
]
