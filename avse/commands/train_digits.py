"""`avse train digits` and `avse tables digits`: what to do when most of the sound is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avse.commands.console import Bars, make_table, say, show
from avse.commands.options import Overrides, RecipeFile

if TYPE_CHECKING:
    from avse.training.digits.config import DigitsConfig, Method

DigitsDataOption = Annotated[
    Path,
    typer.Option(
        "--data", exists=True, file_okay=False, metavar="DIR",
        help="Folder with handwritten_digits.npz and spoken_digits_8k.npz, or avdigits in it.",
    ),
]  # fmt: skip
DigitsOutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Results; a second call goes on.")
]
ValidationOption = Annotated[
    bool,
    typer.Option(
        "--validation",
        help="Score takes and images that the test leaves alone: to choose settings.",
    ),
]


def train_digits(
    data_dir: DigitsDataOption,
    out_dir: DigitsOutOption = Path("runs/digits"),
    method: Annotated[
        str,
        typer.Option(help="image, sound, separate, full, zeros, autoencoder, msaf or smil."),
    ] = "smil",
    share: Annotated[float, typer.Option(help="Of the training pairs that have sound.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of images, pairs, sounds and weights.")] = 0,
    config: RecipeFile = None,
    overrides: Overrides = None,
    is_validation: ValidationOption = False,
) -> None:
    """Train one network on digits of which few have sound, and score it with and without."""
    from avse.training.digits.experiment import Cell, DigitsBench

    settings = _settings(config, overrides, is_validation)
    bench = DigitsBench(data_dir, out_dir, settings)
    cell = Cell(_methods([method])[0], share, seed)
    with Bars() as bars:
        result = bench.result(cell, bars)
    scores = ", ".join(f"{name} {value:.1f} %" for name, value in result.accuracy.items())
    say(f"{cell.name}\t{out_dir / cell.name}.json\t{scores}")


def table_digits(
    data_dir: DigitsDataOption,
    out_dir: DigitsOutOption = Path("runs/digits"),
    shares: Annotated[
        list[float] | None,
        typer.Option("--share", help="Repeatable; default: 0.05, 0.1 and 0.2."),
    ] = None,
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="Repeatable; default: all.")
    ] = None,
    n_seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each cell.")] = 5,
    config: RecipeFile = None,
    overrides: Overrides = None,
    is_validation: ValidationOption = False,
    only_finished: Annotated[
        bool, typer.Option("--finished", help="Run nothing: the table of what there is so far.")
    ] = False,
    document: Annotated[
        Path | None,
        typer.Option(
            "--document", exists=True, dir_okay=False, metavar="FILE.md",
            help="Also put the table into its place in this document.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Digits with 5, 10 and 20 % of the sound: baselines, MSAF and SMIL, with and without it."""
    from avse.training.digits.config import METHODS
    from avse.training.digits.experiment import TESTS, DigitsBench, run_cells, table_cells
    from avse.training.digits.table import NAMES, accuracy_of, rows_of, write_table

    settings = _settings(config, overrides, is_validation)
    bench = DigitsBench(data_dir, out_dir, settings)
    chosen = _methods(methods or list(METHODS))
    seeds = range(100, 100 + n_seeds) if is_validation else range(n_seeds)
    cells = list(table_cells(shares or [0.05, 0.1, 0.2], seeds, chosen))
    cells = [cell for cell in cells if not only_finished or bench.has(cell)]
    with Bars() as bars:
        results = run_cells(bench, cells, bars)
    paths = write_table(out_dir, results, settings, document)
    lines = [
        [f"{100 * share:g} %", NAMES[method]]
        + [f"{accuracy_of(results, method, share, test).mean:.1f}" for test in TESTS]
        for method, share in rows_of(results)
    ]
    show(make_table("Digits, percent right", ["sound", "method", *TESTS], lines, n_text=2))
    for path in paths:
        say(f"  {path}")


def _settings(
    path: Path | None, overrides: list[str] | None, is_validation: bool
) -> "DigitsConfig":
    from dataclasses import replace

    from avse.config import load_config
    from avse.training.digits.config import DigitsConfig
    from avse.training.digits.protocol import VALIDATION

    config = load_config(DigitsConfig, path, overrides or [])
    return replace(config, protocol=VALIDATION) if is_validation else config


def _methods(names: list[str]) -> list["Method"]:
    from avse.training.digits.config import METHODS

    for name in names:
        if name not in METHODS:
            raise typer.BadParameter(f"method: expected one of {list(METHODS)}, found {name!r}")
    return [method for method in METHODS if method in names]
