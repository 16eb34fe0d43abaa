"""`avse train`: the networks of the product, from a folder of recordings to bundles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avse.commands.console import Bars, say
from avse.commands.options import DataOption, Overrides, RecipeFile
from avse.commands.train_digits import train_digits
from avse.commands.train_heads import train_action, train_gesture
from avse.commands.train_prior import train_mouth_prior
from avse.commands.train_small import train_mouth_clarity, train_sound

if TYPE_CHECKING:
    from avse.training.recipe_config import RecipeConfig
    from models.weights import BundleSpec

OutOption = Annotated[
    Path,
    typer.Option(
        "--out", metavar="DIR", help="Run folder: log, checkpoint, bundle; a second call goes on."
    ),
]

train_app = typer.Typer(help="Train the networks on a folder of recordings.", rich_markup_mode=None)
train_app.command("gesture")(train_gesture)
train_app.command("action")(train_action)
train_app.command("digits")(train_digits)
train_app.command("mouth-prior")(train_mouth_prior)
train_app.command("mouth-clarity")(train_mouth_clarity)
train_app.command("sound")(train_sound)


@train_app.callback(invoke_without_command=True)
def _help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit


@train_app.command("avse")
def train_enhancer(
    data_dir: DataOption,
    out_dir: OutOption = Path("runs/avse"),
    systems: Annotated[
        list[str] | None,
        typer.Option(
            "--system",
            "--systems",
            metavar="NAME",
            help="avse-mmtm, avse-mmtm-clip, avse-concat or avse-audio; repeatable.",
        ),
    ] = None,
    stages: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            "--stages",
            metavar="NAME",
            help="crops, lips, lips-in-time, features, enhancer, polish or phase; repeatable; "
            "default: all.",
        ),
    ] = None,
    config: RecipeFile = None,
    overrides: Overrides = None,
) -> None:
    """Train lips and enhancer: crops, lips/sound towers, their features, sound and fusion."""
    from avse.training.recipe_config import STAGES, SYSTEMS

    chosen_systems = _known("--system", systems or ["avse-mmtm"], SYSTEMS)
    chosen_stages = _known("--stage", stages or list(STAGES), STAGES)
    _train(data_dir, out_dir, _recipe(config, overrides), chosen_systems, chosen_stages)


@train_app.command("lips")
def train_lips(
    data_dir: DataOption,
    out_dir: OutOption = Path("runs/avse"),
    config: RecipeFile = None,
    overrides: Overrides = None,
) -> None:
    """Train the lips/sound towers alone: which sound belongs to which moment of which mouth."""
    _train(data_dir, out_dir, _recipe(config, overrides), [], ["crops", "lips", "lips-in-time"])


@train_app.command("faces")
def train_faces(
    data_dir: DataOption,
    out_dir: OutOption = Path("runs/faces"),
    minutes: Annotated[float, typer.Option(min=0.0, help="Minutes of training in all.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of weights and scenes.")] = 0,
) -> None:
    """Train the face detector on labelled pictures in DIR/faces."""
    from avse.training.faces import train_face_detector
    from avse.training.run_folder import code_version

    with Bars() as bars:
        spec = train_face_detector(
            data_dir, out_dir, minutes=minutes, seed=seed, progress=bars, commit=code_version()
        )
    _say_scores(spec.name, out_dir / "bundle", spec.card["scores"])


@train_app.command("mouth")
def train_mouth(data_dir: DataOption, out_dir: OutOption = Path("runs/mouth")) -> None:
    """Train the mouth landmarks on labelled faces in DIR/faces."""
    from avse.training.mouth import train_mouth_landmarks

    out_dir.mkdir(parents=True, exist_ok=True)
    with Bars() as bars:
        scores = train_mouth_landmarks(data_dir, out_dir, progress=bars)
    _say_scores("mouth-landmarks", out_dir / "bundle", scores)


@train_app.command("mean")
def mean_of_runs(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="Folders; the first gives the shape.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The new bundle.")],
    mask_power: Annotated[
        float | None,
        typer.Option(min=0.1, max=2.0, help="What is heard is the mask to this power."),
    ] = None,
    mirrors_lips: Annotated[
        bool | None,
        typer.Option(
            "--mirror-lips/--plain-lips", help="Features of the mouth and its mirror image."
        ),
    ] = None,
    spares_db: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="What is taken away so many dB below what is kept stays in part, and wholly.",
        ),
    ] = None,
    phase_from: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE", help="Take the phase refiner of this run, not the mean of theirs."
        ),
    ] = None,
    lips_from: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="Take the towers of the lips of this lip-sync."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Mean of this part alone (repeatable)."),
    ] = None,
) -> None:
    """Write the mean of the weights of several runs of an enhancer or of `lip-sync` (or of one)."""
    from avse.training.means import MeanOptions, mean_bundle

    parts = tuple(only or ())
    options = MeanOptions(mask_power, mirrors_lips, spares_db, phase_from, lips_from, parts)
    spec = mean_bundle(bundles, out_dir, options)
    say(f"{spec.name}\t{out_dir}\t{spec.sha256[:12]}")


def _recipe(config: Path | None, overrides: list[str] | None) -> "RecipeConfig":
    from avse.config import load_config
    from avse.training.recipe_config import RecipeConfig

    return load_config(RecipeConfig, config, overrides or [])


def _train(
    data_dir: Path, out_dir: Path, config: "RecipeConfig", systems: list[str], stages: list[str]
) -> None:
    from avse.training.recipe import train_avse
    from avse.training.recipe_config import Folders

    folders = Folders(data_dir, out_dir, out_dir / "bundles")
    with Bars() as bars:
        specs: list[BundleSpec] = train_avse(
            folders, config=config, systems=systems, stages=stages, progress=bars
        )
    for spec in specs:
        _say_scores(spec.name, folders.bundles / spec.name, spec.card.get("scores", {}))


def _known(option: str, values: list[str], allowed: Any) -> list[str]:
    for value in values:
        if value not in allowed:
            raise typer.BadParameter(f"{option}: expected one of {list(allowed)}, found {value!r}")
    return values


def _say_scores(name: str, folder: Path, scores: dict[str, Any]) -> None:
    say(f"{name}\t{folder}\t{scores}")
