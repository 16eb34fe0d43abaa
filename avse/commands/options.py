"""Options that several commands share, word for word."""

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
