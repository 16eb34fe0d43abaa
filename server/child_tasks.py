"""What decode children do: everything that touches a user's media."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from preprocessing.media import MediaLimits, probe
from preprocessing.mouth import CropConfig
from preprocessing.pipeline import PipelineConfig, Tools, open_tools, prepare
from preprocessing.timeline import VIDEO_FPS
from preprocessing.tracking import TrackingConfig
from preprocessing.types import Progress
from server import sandbox
from server.face_pictures import write_thumbnails
from server.prepared_file import PREPARED, write_prepared
from server.recognition import leave_streams
from server.results import write_results
from server.spool import INPUT
from server.time_span import cut_prepared, span_of

Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChildContext:
    """What the zygote opened for its children.

    Attributes:
        detector: Name of the face detector.
        tools: The two small networks of the preprocessing.
    """

    detector: str
    tools: Tools


def open_context(detector: str) -> ChildContext:
    """Import, open and use once what most children need, so that none of them has to.

    Raises:
        ModelError: A network is not there.
    """
    tools = open_tools(detector)
    tools.detector.detect([np.zeros((64, 64, 3), np.uint8)])
    return ChildContext(detector, tools)


def open_rest() -> None:
    """Import what is slow and not needed to be ready: pictures, fonts, measures."""
    import_module("server.evaluation_job")
    import_module("avse.plots")
    figure = import_module("matplotlib.figure").Figure()
    figure.text(0.5, 0.5, "fonts are found once")
    figure.canvas.draw()


def limits_of(options: Options) -> MediaLimits:
    """The media limits that came with the task."""
    return MediaLimits(**options["limits"])


def prepare_clip(
    folder: Path, options: Options, context: ChildContext, progress: Progress
) -> dict[str, Any]:
    """Read a clip and leave it as a prepared file: sound, tracks and mouths.

    Returns:
        `lead_samples`: sound before the wanted start that stands in the file, so that pictures
        and sound keep step; it is cut off the result. `probe_s`. `thumbnails` by track id, if asked
        for.

    Raises:
        MediaError: The file cannot be used.
    """
    path = folder / INPUT
    start = time.perf_counter()
    progress("probe", 0.0, 1.0)
    track = int(options.get("audio_track") or 0)
    probe(path, limits=limits_of(options), audio_track=track)
    probe_s = time.perf_counter() - start
    config = PipelineConfig(
        detector=context.detector,
        limits=limits_of(options),
        audio_track=track,
        ignores_video=options.get("mode") == "audio_only",
    )
    clip = prepare(path, config, _stages(progress), tools=context.tools)
    clip, lead_samples = cut_prepared(clip, span_of(options))
    write_prepared(folder / PREPARED, clip)
    found: dict[str, Any] = {"lead_samples": lead_samples, "probe_s": probe_s}
    if options.get("thumbnails"):
        found["thumbnails"] = write_thumbnails(folder, clip, limits_of(options))
    return found


def encode_results(
    folder: Path, options: Options, context: ChildContext, progress: Progress
) -> dict[str, Any]:
    """Write the files of a result; returns `outputs` by variant and `warnings`.

    Raises:
        MediaError: The source cannot be read again or a file not be written.
    """
    return write_results(folder, options, limits_of(options), progress)


def score_pair(
    folder: Path, options: Options, context: ChildContext, progress: Progress
) -> dict[str, Any]:
    """Judge an estimate, and the noisy sound it came from, against a reference.

    Raises:
        JobFailed: They cannot be compared.
        MediaError: One of them cannot be read.
    """
    evaluate = import_module("server.evaluation_job").evaluate
    scores: dict[str, Any] = evaluate(folder, limits_of(options), progress)
    return scores


def prepare_streams(
    folder: Path, options: Options, context: ChildContext, progress: Progress
) -> dict[str, Any]:
    """Read a clip as a recognition head looks at it, and leave it in a file; returns `stage_s`.

    Raises:
        MediaError: The clip or the skeleton beside it cannot be used.
    """
    return leave_streams(folder, options, limits_of(options), progress)


def _stages(progress: Progress) -> Progress:
    """Names of the interface for the pipeline's stages; room for mapped crops once known."""
    is_allowed = False

    def translate(stage: str, done: float, total: float) -> None:
        nonlocal is_allowed
        if stage == "faces" and not is_allowed:
            is_allowed = True
            sandbox.allow_mapped(_crops_bytes(total))
        progress("track" if stage == "faces" else "decode", done, total)

    return translate


def _crops_bytes(duration_s: float) -> int:
    """What the crops of a clip's largest faces may take as mapped files."""
    side_px = CropConfig().size_px
    return int(duration_s * VIDEO_FPS + 1) * side_px**2 * TrackingConfig().max_faces


TASKS: dict[str, Callable[[Path, Options, ChildContext, Progress], dict[str, Any]]] = {
    "prepare": prepare_clip,
    "encode": encode_results,
    "evaluate": score_pair,
    "streams": prepare_streams,
}
