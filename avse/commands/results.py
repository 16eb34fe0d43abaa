"""`avse results`: one page that says how good the enhancer is."""

from pathlib import Path
from typing import Annotated

import typer

from avse.commands.console import Bars, say


def results(
    data_dir: Annotated[
        Path,
        typer.Option("--data", exists=True, file_okay=False, metavar="DIR", help="With av.csv."),
    ],
    crops: Annotated[
        Path,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR",
            help="Cached mouth crops (OUT/crops of `avse train avse`).",
        ),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, help="Page, rows and pictures.")
    ] = Path("runs/results"),
    bundles: Annotated[
        list[str] | None,
        typer.Option(
            "--bundle", metavar="NAME",
            help="The one that ships, then its baselines, the better first; default: avse-mmtm.",
        ),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", exists=True, file_okay=False, help="Its log is drawn; repeatable."),
    ] = None,
    voicebank: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A VoiceBank+DEMAND folder."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many mixtures a condition.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the mixtures and the intervals.")] = 0,
    n_workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, help="Processes that score; 0: by the cores, 1: the network's own."
        ),
    ] = 0,
) -> None:  # fmt: skip
    """Judge every goal on `test` and `elsewhere`; write one page with tables, curves, examples."""
    from avse.evaluation.results_page import ResultsOptions
    from avse.evaluation.results_page import results as make_page

    options = ResultsOptions(
        out_dir,
        data_dir,
        crops,
        bundles=tuple(bundles or ["avse-mmtm"]),
        runs=tuple(runs or []),
        voicebank=voicebank,
        limit=limit,
        seed=seed,
        n_workers=n_workers,
    )
    with Bars() as bars:
        files = make_page(options, bars)
    for path in files.values():
        say(f"  {path}")
