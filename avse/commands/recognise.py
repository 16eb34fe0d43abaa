"""`avse gestures` and `avse actions`: what somebody does in a clip, and when."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avse.commands.console import Bars, check_output, make_table, say, show
from avse.commands.options import (
    Device,
    IsJson,
    Picture,
    Skeleton,
    StrideS,
    Threshold,
    TopK,
    Weights,
    WindowS,
)

if TYPE_CHECKING:
    from avse.recognition import Recognition, RecognitionOptions
    from preprocessing.streams import PictureKind, StreamSources

COLUMNS = ["label", "also", "start", "end", "score"]
N_ALSO = 2

ClipArgument = Annotated[
    Path, typer.Argument(help="Any file with pictures that FFmpeg reads; depth, if the head's.")
]
Plot = Annotated[
    Path | None, typer.Option(metavar="P.png", help="Write frames and the labels over time.")
]
Pose = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Find skeletons in the pictures: mediapipe."),
]


def gestures(
    clip: ClipArgument,
    is_json: IsJson = False,
    plot: Plot = None,
    top_k: TopK = 5,
    window: WindowS = None,
    stride: StrideS = None,
    threshold: Threshold = 0.0,
    picture: Picture = "auto",
    model: Weights = None,
    device: Device = "auto",
) -> None:
    """Tell which hand gestures a clip shows, and when."""
    options = _options(top_k, window, stride, threshold)
    _check_plot(plot, clip)
    found = _run("gesture", model, device, clip, options, _sources(picture))
    _answer(found, clip, is_json, plot)


def actions(
    clip: ClipArgument,
    is_json: IsJson = False,
    plot: Plot = None,
    skeleton: Skeleton = None,
    pose: Pose = None,
    top_k: TopK = 5,
    window: WindowS = None,
    stride: StrideS = None,
    threshold: Threshold = 0.0,
    picture: Picture = "auto",
    model: Weights = None,
    device: Device = "auto",
) -> None:
    """Tell which actions a clip shows, and when; a skeleton helps."""
    options = _options(top_k, window, stride, threshold)
    _check_plot(plot, clip)
    sources = _sources(picture, skeleton, pose)
    found = _run("action", model, device, clip, options, sources)
    _answer(found, clip, is_json, plot)


def _options(
    top_k: int, window_s: float | None, stride_s: float | None, threshold: float
) -> "RecognitionOptions":
    """The choices, checked before any work.

    Raises:
        typer.BadParameter: They do not go together.
    """
    from avse.recognition.types import RecognitionOptions

    try:
        return RecognitionOptions(top_k, window_s, stride_s, threshold)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _check_plot(plot: Path | None, clip: Path) -> None:
    if plot is not None:
        check_output(plot, (".png",), clip)


def _sources(
    picture: "PictureKind", skeleton: Path | None = None, pose: str | None = None
) -> "StreamSources":
    """Where streams come from beside the pictures.

    Raises:
        typer.BadParameter: The pose estimator is unknown.
    """
    from preprocessing.pose import POSE_ESTIMATORS, make_pose_estimator
    from preprocessing.streams import StreamSources

    if pose is not None and pose not in POSE_ESTIMATORS:
        raise typer.BadParameter(f"--pose: expected one of {list(POSE_ESTIMATORS)}, found {pose!r}")
    estimator = None if pose is None or skeleton is not None else make_pose_estimator(pose)
    return StreamSources(skeleton, estimator, picture)


def _run(
    task: str,
    model: str | None,
    device: str,
    clip: Path,
    options: "RecognitionOptions",
    sources: "StreamSources",
) -> "Recognition":
    from avse.recognition import DEFAULT_HEADS, Recogniser, load_head
    from models.errors import BundleInvalid

    bundle = load_head(model or DEFAULT_HEADS[task])
    if bundle.spec.task != task:
        found = bundle.spec.task
        raise BundleInvalid(f"{bundle.spec.name}: expected a head for {task}s, found {found}s")
    recogniser = Recogniser(bundle, device=device)
    try:
        with Bars() as bars:
            return recogniser.recognise_file(clip, options, sources, bars)
    finally:
        if sources.pose is not None:
            sources.pose.close()


def _answer(found: "Recognition", clip: Path, is_json: bool, plot: Path | None) -> None:
    if plot is not None:
        from avse.recognition.plot import plot_recognition

        plot_recognition(clip, found, plot)
    if is_json:
        say(found.to_json())
        return
    rows = [
        [
            segment.label,
            ", ".join(f"{label} {score:.2f}" for label, score in segment.top_k[1 : 1 + N_ALSO]),
            f"{segment.start_s:.2f}",
            f"{segment.end_s:.2f}",
            f"{segment.score:.2f}",
        ]
        for segment in found.segments
    ]
    seen = " and ".join(found.streams)
    show(make_table(f"{clip.name}: {found.model}, by {seen}", COLUMNS, rows, n_text=2))
    for note in found.notes:
        typer.echo(f"avse: {note}", err=True)
