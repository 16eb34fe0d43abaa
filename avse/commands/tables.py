"""`avse tables`: the papers' tables, computed again on real recordings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from avse.commands.console import Bars, make_table, say, show
from avse.commands.options import Overrides, RecipeFile
from avse.commands.train_digits import table_digits
from avse.commands.train_heads import (
    HeadDataOption,
    HeadOutOption,
    KineticsOption,
    heads_config,
)

SplitOption = Annotated[
    Literal["test", "choice"],
    typer.Option(
        "--split",
        help="test: subjects 1 3 5 7 train, 2 4 6 8 are scored; choice: 1 3 5 train, 7 is scored.",
    ),
]
DocumentOption = Annotated[
    Path | None,
    typer.Option(
        "--document", exists=True, dir_okay=False, metavar="FILE.md",
        help="Also put the table into its place in this document.",
    ),
]  # fmt: skip

FinishedOption = Annotated[
    bool, typer.Option("--finished", help="Only sum up what has run; train nothing.")
]

tables_app = typer.Typer(
    help="Compute the papers' tables again; what has run is not run twice.", rich_markup_mode=None
)

tables_app.command("digits")(table_digits)


@tables_app.callback(invoke_without_command=True)
def _help_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        say(context.get_help())
        raise typer.Exit


@tables_app.command("action")
def table_action(
    data_dir: HeadDataOption,
    out_dir: HeadOutOption = Path("runs/heads"),
    kinetics: KineticsOption = None,
    config: RecipeFile = None,
    overrides: Overrides = None,
    split: SplitOption = "test",
    document: DocumentOption = None,
    is_finished_only: FinishedOption = False,
) -> None:
    """Action from depth and skeleton: each stream alone, and every fusion of the two."""
    _table(
        "action",
        data_dir,
        out_dir,
        kinetics,
        Wanted(config, overrides, split, document, is_finished_only),
    )


@tables_app.command("gesture")
def table_gesture(
    data_dir: HeadDataOption,
    out_dir: HeadOutOption = Path("runs/heads"),
    kinetics: KineticsOption = None,
    config: RecipeFile = None,
    overrides: Overrides = None,
    split: SplitOption = "test",
    document: DocumentOption = None,
    is_finished_only: FinishedOption = False,
) -> None:
    """Gesture from depth and flow: each stream alone, late fusion and MMTM."""
    _table(
        "gesture",
        data_dir,
        out_dir,
        kinetics,
        Wanted(config, overrides, split, document, is_finished_only),
    )


@tables_app.command("figure6")
def table_figure6(
    data_dir: HeadDataOption,
    out_dir: HeadOutOption = Path("runs/heads"),
    kinetics: KineticsOption = None,
    config: RecipeFile = None,
    overrides: Overrides = None,
    split: SplitOption = "test",
    document: DocumentOption = None,
    is_finished_only: FinishedOption = False,
) -> None:
    """Accuracy of the gesture head over the number of MMTMs."""
    _table(
        "figure6",
        data_dir,
        out_dir,
        kinetics,
        Wanted(config, overrides, split, document, is_finished_only),
    )


@tables_app.command("fusion-costs")
def table_fusion_costs(
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Also write fusion-costs.json and .md there."),
    ] = None,
) -> None:
    """FLOPs and parameters of every fusion between two I3D towers; counted, no recording needed."""
    from avse.evaluation.fusion_costs import (
        N_MODULES,
        CostConfig,
        columns,
        fusion_costs,
        lines,
        save_costs,
    )

    config = CostConfig()
    with Bars() as bars:
        costs = fusion_costs(config, progress=bars)
    for n_modules in N_MODULES:
        show(make_table(f"{n_modules} modules", columns(), lines(costs, n_modules)))
    if out_dir is not None:
        for path in save_costs(out_dir, costs, config):
            say(str(path))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options that every table has.

    Attributes:
        config: A recipe.
        overrides: `--set`.
        split: `test` or `choice`.
        document: Where the table goes as well.
        is_finished_only: Whether nothing is trained.
    """

    config: Path | None
    overrides: list[str] | None
    split: str
    document: Path | None
    is_finished_only: bool


def _table(
    name: str,
    data_dir: Path,
    out_dir: Path,
    kinetics: Path | None,
    wanted: Wanted,
) -> None:
    from avse.training.heads.plan import CHOICE, TEST
    from avse.training.heads.recipe import HeadFolders, finished_table
    from avse.training.heads.recipe import make_table as compute
    from avse.training.heads.tables import STREAMS, TITLES, write_into

    config = heads_config(wanted.config, wanted.overrides)
    split = {"test": TEST, "choice": CHOICE}[wanted.split]
    folders = HeadFolders(data_dir, out_dir, kinetics)
    if wanted.is_finished_only:
        rows = finished_table(name, folders, config, split)
    else:
        with Bars() as bars:
            rows = compute(name, folders, config, split, bars)
    outputs = (*STREAMS[name], "joint")
    lines = [
        [
            row.name,
            *(str(row.outputs.get(output, "")) for output in outputs),
            "" if row.gain is None else row.gain.signed,
        ]
        for row in rows
    ]
    show(make_table(TITLES[name], ["", *outputs, "gain on late"], lines))
    if wanted.document is not None:
        write_into(wanted.document, name, rows)
