"""`avse batch`: many clips, overnight if need be, taken up again where it stopped."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avse.commands.batch_display import BatchDisplay
from avse.commands.console import say
from avse.commands.options import Device, Mode, Rate, Strength, Weights

if TYPE_CHECKING:
    from avse.batch.run import BatchOptions, BatchResult

EXIT_FAILED = 3
EXIT_INTERRUPTED = 130


def batch(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Clips, folders (with all below), quoted patterns, a .csv or .jsonl manifest with "
            "the columns input, face, mode, strength, output, or - for a list on standard input."
        ),
    ],
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, metavar="OUT", help="Result folder.")
    ],
    kind: Annotated[
        Literal["wav", "flac", "mp3", "opus", "mp4", "mkv", "webm"],
        typer.Option(
            "--format", "-f",
            help="wav, flac, mp3 or opus: the voice alone; mp4, mkv or webm: the picture copied, "
            "its sound replaced.",
        ),
    ] = "wav",
    is_flat: Annotated[
        bool, typer.Option("--flatten", help="All results in one folder, no two of one name.")
    ] = False,
    face: Annotated[
        str,
        typer.Option(metavar="WHO", help="auto, largest, all, a track number, or x,y,w,h@seconds."),
    ] = "auto",
    mode: Mode = "auto",
    strength: Strength = 1.0,
    rate: Rate = "16000",
    bundle: Weights = None,
    device: Device = "auto",
    n_workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that read clips; 0: one a core.")
    ] = 0,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            help="ray: on a cluster (RAY_ADDRESS) whose machines all see clips and OUT at the "
            "same paths; needs the extra ray."
        ),
    ] = "local",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips now.")] = None,
    retries_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed before.")
    ] = False,
    is_trial: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:  # fmt: skip
    """Enhance many clips; what is finished already is skipped.

    A result is done again when the clip, the weights or an option has changed. OUT/failures.jsonl
    says what failed and why. Exit code: 0 all good, 3 some failed, 130 interrupted.
    """
    from avse.batch.run import BatchOptions
    from avse.bundle import DEFAULT_BUNDLE
    from avse.types import EnhanceOptions

    options = BatchOptions(
        tuple(inputs),
        out_dir,
        suffix=f".{kind}",
        options=EnhanceOptions(
            face=face,
            mode=mode,
            strength=strength,
            output_rate="input" if rate == "input" else int(rate),
            keep_mask=False,
        ),
        bundle=bundle or DEFAULT_BUNDLE,
        device=device,
        is_flat=is_flat,
        retries_failed=retries_failed,
        limit=limit,
        n_workers=n_workers,
        engine=engine,
    )
    exit_code = _show_plan(options) if is_trial else _run(options)
    if exit_code:
        raise typer.Exit(exit_code)


def _run(options: "BatchOptions") -> int:
    from avse.batch.run import run_batch

    if not logging.getLogger().isEnabledFor(logging.INFO):
        # A thousand clips that were turned down are no news; `avse enhance` says it of one.
        logging.getLogger("preprocessing").setLevel(logging.ERROR)
    with BatchDisplay() as display:
        result = run_batch(options, display, lines=_standard_input())
    _tell_notes(result)
    say(_summary(options, result))
    if result.is_interrupted:
        return EXIT_INTERRUPTED
    tally = result.tally
    return EXIT_FAILED if tally.n_failed or tally.n_failed_before else 0


def _show_plan(options: "BatchOptions") -> int:
    from avse.batch.run import plan_batch

    result = plan_batch(options, lines=_standard_input())
    _tell_notes(result)
    n_shown = 0
    for each in result.planned:
        state: str = each.state
        if state == "todo":
            n_shown += 1
            state = "todo" if options.limit is None or n_shown <= options.limit else "later"
        say(f"{state}\t{each.work.source}\t{each.work.output}")
    return 0


def _standard_input() -> Iterator[str]:
    """Lines as file names have them, in whatever encoding."""
    return (os.fsdecode(line) for line in sys.stdin.buffer)


def _tell_notes(result: "BatchResult") -> None:
    for note in result.notes:
        typer.echo(f"avse: {note}", err=True)


def _summary(options: "BatchOptions", result: "BatchResult") -> str:
    """One line: how many, how fast, and where to look."""
    tally = result.tally
    parts = [f"{tally.n_done} done"]
    parts += [f"{tally.n_skipped} finished before"] if tally.n_skipped else []
    parts += [f"{tally.n_failed} failed"] if tally.n_failed else []
    if tally.n_failed_before:
        parts.append(f"{tally.n_failed_before} failed before (--retry-failed tries them again)")
    n_left = tally.n_total - tally.n_ended
    parts += [f"{n_left} left"] if n_left else []
    if tally.n_done:
        hours = f"{tally.audio_s / 3600:.2f} h of sound in {tally.elapsed_s:.0f} s"
        parts.append(f"{hours}, {tally.speed:.1f} x real time")
    if result.failures is not None:
        parts.append(f"see {result.failures}")
    return f"{options.out_dir}\t{', '.join(parts)}"
