"""`avse evaluate`: PESQ, STOI and SI-SDR before and after, on mixtures or on finished files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avse.commands.console import Bars, say, show

if TYPE_CHECKING:
    from avse.evaluation.evaluate import EvaluateOptions


def evaluate(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data", "--mix", exists=True, file_okay=False, metavar="DIR",
            help="Folder with av.csv (and audio.csv), or a VoxCeleb2-like tree: mixtures are made "
            "from it by the seed.",
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            exists=True, metavar="PATH",
            help="Instead of --data: a .csv or .jsonl with reference, noisy, estimate and what is "
            "known of them, a VoiceBank+DEMAND folder, scenes.*.json of the AVSE challenge, or a "
            "list of LRS2- or LRS3-mix.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR",
            help="Folder of clean sounds, instead of --data; with --estimate or --noisy.",
        ),
    ] = None,
    estimate: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR", help="Finished outputs of the same names."
        ),
    ] = None,
    noisy: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR", help="Noisy sounds of the same names."
        ),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, help="Rows, tables, charts, report.")
    ] = Path("runs/evaluation"),
    bundles: Annotated[
        list[str] | None,
        typer.Option("--bundle", metavar="NAME", help="Or folder of weights; repeatable."),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]PROGRAM", help="A program with {in} and {out}; repeatable."),
    ] = None,
    splits: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="Repeatable; default: test.")
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option(
            "--condition", metavar="NAME",
            help="Repeatable; default: two_0db and three_paper.",
        ),
    ] = None,
    talkers: Annotated[
        int | None, typer.Option(min=1, help="A condition of your own: voices, target included.")
    ] = None,
    snr_db: Annotated[
        str | None, typer.Option("--snr", metavar="LOW:HIGH", help="Its ratio, dB.")
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(help="Its noise: any, a class or data set of audio.csv, or a folder (./DIR)."),
    ] = None,
    crops: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, metavar="DIR",
            help="Cached mouth crops (OUT/crops of `avse train avse`); without, no lips are shown.",
        ),
    ] = None,
    lips: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHOSE",
            help="own, wrong_person, same_person_other_clip or none, or a disturbance with its "
            "strength (hidden:0.5, covered:0.5, fps:12, late:2, blur:4, dark:0.8, turned:40); "
            "repeatable; default: own.",
        ),
    ] = None,
    sound: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="What every mixture goes through as well, with its strength (opus:24, aac:32 and "
            "mp3:32 kbit/s, band:3.4 kHz, clip:3, hiss:20 and room:6 dB); repeatable.",
        ),
    ] = None,
    is_robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Every disturbance of the lips, as curves; slow."),
    ] = False,
    is_guessing: Annotated[
        bool, typer.Option("--dnsmos", help="Judge by DNSMOS as well (extra dnsmos); slow.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the mixtures and the bootstrap.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many pairs a split and condition.")
    ] = None,
    n_workers: Annotated[
        int,
        typer.Option(
            "--workers", min=0, help="Processes that score; 0: by the cores, 1: the network's own."
        ),
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:  # fmt: skip
    """Score bundles and programs on mixtures of a data folder, or finished files."""
    from avse.evaluation.evaluate import EvaluateOptions

    chosen: dict[str, Any] = {
        "bundles": bundles, "compare": compare, "splits": splits, "conditions": conditions,
        "lips": lips, "sound": sound,
    }  # fmt: skip
    if snr_db is not None:
        from avse.evaluation.mixtures import parse_range_db

        chosen["snr_db"] = parse_range_db(snr_db)
    if is_robustness:
        from avse.evaluation.disturbances import robustness_controls

        chosen["lips"] = (*(lips or ("own", "none")), *robustness_controls())
    if is_guessing:
        from avse.evaluation.metrics import ALL_METRICS

        chosen["metrics"] = ALL_METRICS
    options = EvaluateOptions(
        out_dir,
        data_dir,
        talkers=talkers,
        noise=noise,
        reference=reference,
        estimate=estimate,
        noisy=noisy,
        pairs=pairs,
        crops=crops,
        seed=seed,
        limit=limit,
        n_workers=n_workers,
        device=device,
        **{name: tuple(values) for name, values in chosen.items() if values},
    )
    _evaluate(options)


def _evaluate(options: "EvaluateOptions") -> None:
    from avse.evaluation.evaluate import run_evaluation
    from avse.evaluation.report import rich_table

    with Bars() as bars:
        evaluation = run_evaluation(options, bars)
    show(rich_table(evaluation.summary))
    for path in evaluation.files.values():
        say(f"  {path}")
