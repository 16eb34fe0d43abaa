"""`avse enhance`: one clip in, the clean voice out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avse.commands.console import Bars, check_output, say
from avse.commands.options import Device, Mode, Rate, Strength, Weights

if TYPE_CHECKING:
    from avse.types import EnhancedClip, EnhanceOptions

OUTPUTS = (".wav", ".flac", ".mp3", ".opus", ".mp4", ".mkv", ".webm")


def enhance(
    clip: Annotated[Path, typer.Argument(help="Any file with sound that FFmpeg reads.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT",
            help="OUT.wav, .flac, .mp3 or .opus: the voice alone; .mp4, .mkv or .webm: the picture "
            "copied, its sound replaced. Default: CLIP.enhanced.wav in the working folder.",
        ),
    ] = None,
    face: Annotated[
        str,
        typer.Option(
            metavar="WHO",
            help="auto (whose mouth moves with the sound), largest, all (one output for each "
            "face), a track number of `avse faces`, or x,y,w,h@seconds.",
        ),
    ] = "auto",
    mode: Mode = "auto",
    strength: Strength = 1.0,
    rate: Rate = "16000",
    audio_track: Annotated[
        int, typer.Option(min=0, help="Which sound track of the clip, from 0.")
    ] = 0,
    bundle: Weights = None,
    device: Device = "auto",
    report: Annotated[
        Path | None, typer.Option(metavar="R.json", help="Write how the result came about.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="P.png", help="Write spectrograms before and after, mask and mouth."),
    ] = None,
) -> None:  # fmt: skip
    """Take the voice of a visible speaker out of a noisy clip."""
    from avse.output import numbered
    from avse.plots import plot_enhancement, write_file
    from avse.types import EnhanceOptions
    from preprocessing.media import read_audio

    out = check_output(output or Path(f"{clip.stem}.enhanced.wav"), OUTPUTS, clip)
    for path, suffix in ((report, ".json"), (plot, ".png")):
        if path is not None:
            check_output(path, (suffix,), clip)
    options = EnhanceOptions(
        face=_readable(face),
        mode=mode,
        strength=strength,
        output_rate="input" if rate == "input" else int(rate),
        audio_track=audio_track,
        keep_mask=plot is not None,
    )
    enhanced = _run(clip, out, options, bundle, device)
    is_many = len(enhanced) > 1
    for result in enhanced:
        if report is not None:
            text = result.report.to_json() + "\n"
            write_file(numbered(report, result) if is_many else report, text.encode())
        if plot is not None:
            noisy = read_audio(clip, audio_track=audio_track)
            plot_enhancement(noisy, result, numbered(plot, result) if is_many else plot)
        say(_summary(result, numbered(out, result) if is_many else out))
        for warning in result.report.warnings:
            typer.echo(f"avse: {warning}", err=True)


def _readable(face: str) -> str:
    """The words as they are, checked before any work.

    Raises:
        typer.BadParameter: They cannot be read.
    """
    from preprocessing.target import FaceChoiceInvalid, parse_choice

    try:
        parse_choice(face)
    except FaceChoiceInvalid as error:
        raise typer.BadParameter(str(error)) from error
    return face


def _run(
    clip: Path, out: Path, options: "EnhanceOptions", bundle: str | None, device: str
) -> "list[EnhancedClip]":
    from avse.bundle import DEFAULT_BUNDLE
    from avse.enhancer import Enhancer

    enhancer = Enhancer(bundle or DEFAULT_BUNDLE, device=device)
    with Bars() as bars:
        enhanced = enhancer.enhance_file(clip, out, options, bars)
    return enhanced if isinstance(enhanced, list) else [enhanced]


def _summary(result: "EnhancedClip", out: Path) -> str:
    """One line: where the result is and how it came about."""
    report = result.report
    how = {"av": "lips and sound", "audio_only": "sound alone", "mixed": "lips where seen"}
    reason = f" ({report.reason})" if report.reason else ""
    seen = f"mouth seen {report.face_s:.1f} of {report.duration_s:.1f} s"
    return f"{out}\t{how[report.path]}{reason}, {seen}, {report.real_time_factor:.1f} x real time"
