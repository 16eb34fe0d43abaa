"""`avse train sound` and `avse train mouth-clarity`: the networks beside the enhancer that sees."""

from pathlib import Path
from typing import Annotated

import typer

from avse.commands.console import Bars, say
from avse.commands.options import DataOption, Overrides, RecipeFile


def train_sound(
    data_dir: DataOption,
    out_dir: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Run folder; a second call goes on."),
    ] = Path("runs/sound"),
    config: RecipeFile = None,
    overrides: Overrides = None,
) -> None:
    """Train the network for clips without any mouth, on the voices and noises in DIR."""
    from avse.config import load_config
    from avse.training.sound_recipe import SoundRecipe, train_sound

    recipe = load_config(SoundRecipe, config, overrides or [])
    with Bars() as bars:
        spec = train_sound(data_dir, out_dir, recipe, bars)
    say(f"{spec.name}\t{out_dir / 'bundles' / spec.name}\t{spec.card['scores']}")


def train_mouth_clarity(
    data_dir: DataOption,
    work_dir: Annotated[
        Path,
        typer.Option(
            "--work", exists=True, file_okay=False, metavar="DIR",
            help="Run folder of `avse train avse`, whose crops are read; the bundle lands there.",
        ),
    ] = Path("runs/avse"),
    config: RecipeFile = None,
    overrides: Overrides = None,
) -> None:  # fmt: skip
    """Train the network that tells covered and dark mouths from those that can be read."""
    from avse.config import load_config
    from avse.training.mouth_clarity import MouthClarityTraining, train_mouth_clarity

    settings = load_config(MouthClarityTraining, config, overrides or [])
    with Bars() as bars:
        spec = train_mouth_clarity(data_dir, work_dir, settings, bars)
    say(f"{spec.name}\t{work_dir / 'bundles' / spec.name}\t{spec.card['scores']}")
