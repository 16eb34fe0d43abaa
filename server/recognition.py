"""Between a job and a recognition head: what the child reads, the options, the findings."""

import json
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from preprocessing.media import MediaLimits
from preprocessing.stream_config import StreamConfig
from preprocessing.streams import PictureKind, StreamSources, prepare_streams
from preprocessing.types import Progress
from server import sandbox
from server.spool import INPUT
from server.streams_file import STREAMS, write_streams

if TYPE_CHECKING:
    from avse.recognition import Recognition, RecognitionOptions

SKELETON = "skeleton"
# Of one place in a picture; a depth stream is kept with the grey pictures that flow is made of.
_PICTURE_BYTES = {"rgb": 3, "depth": 1, "flow": 2}


def leave_streams(
    folder: Path, options: Mapping[str, Any], limits: MediaLimits, progress: Progress
) -> dict[str, Any]:
    """In a decode child: the clip as the head of `options["bundle"]` looks at it, in a file.

    The weights are not opened. Returns `stage_s`.

    Raises:
        MediaError: The clip or the skeleton cannot be used.
        BundleInvalid: The head's description is not one.
    """
    start = time.perf_counter()
    progress("decode", 0.0, 1.0)
    bundle = Path(options["bundle"])
    spec = import_module("models.weights").read_spec(bundle)
    settings = import_module("avse.recognition.bundle").read_head_settings(spec, bundle.name)
    prepared = prepare_streams(
        folder / INPUT,
        settings.prepare,
        _sources(folder, options, "skeleton" in settings.streams),
        limits=limits,
        progress=_with_room(progress, settings.prepare, limits),
    )
    write_streams(folder / STREAMS, prepared)
    return {"stage_s": {"decode": time.perf_counter() - start}}


def _with_room(progress: Progress, config: StreamConfig, limits: MediaLimits) -> Progress:
    """Progress that lets the child map the pictures' files once the clip's length is known."""
    is_allowed = False

    def tell(stage: str, done: float, total: float) -> None:
        nonlocal is_allowed
        if not is_allowed:
            is_allowed = True
            n_pictures = int(min(total, limits.max_duration_s) * config.fps) + 2
            n_bytes = sum(_PICTURE_BYTES.get(name, 0) for name in config.streams)
            sandbox.allow_mapped(n_pictures * n_bytes * config.size_px**2)
        progress(stage, done, total)

    return tell


def _sources(folder: Path, options: Mapping[str, Any], wants_skeleton: bool) -> "StreamSources":
    """What the clip's pictures are, and its skeleton: as sent, or from the operator's estimator."""
    picture: PictureKind = options.get("picture") or "auto"
    if options.get("has_skeleton"):
        return StreamSources(folder / SKELETON, None, picture)
    pose = None
    if wants_skeleton and options.get("pose"):
        pose = import_module("preprocessing.pose").make_pose_estimator(options["pose"])
    return StreamSources(None, pose, picture)


def recognition_options(options: Mapping[str, Any]) -> "RecognitionOptions":
    """The choices of a job."""
    chosen: RecognitionOptions = import_module("avse.recognition").RecognitionOptions(
        top_k=int(options["top_k"]),
        window_s=options.get("window_s"),
        stride_s=options.get("stride_s"),
        threshold=float(options["threshold"]),
    )
    return chosen


def described(found: "Recognition") -> dict[str, Any]:
    """What a head found, as the interface shows it."""
    shown: dict[str, Any] = json.loads(found.to_json())
    return shown
