"""A `PreparedClip` to a file and back: what a decode child leaves for the model process."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.timeline import SAMPLE_RATE_HZ, n_video_frames
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, SourceInfo, Waveform
from server.array_file import ArrayFileInvalid, read_arrays, write_arrays

PREPARED = "prepared.arrays"
_TRACK_ARRAYS = ("frame_indices", "times_s", "boxes_xyxy", "scores")
_MOUTH_ARRAYS = ("crops", "is_visible", "landmarks_px", "is_turned", "is_obscured")
_MAX_TRACKS = 1000


def write_prepared(path: Path, clip: PreparedClip) -> None:
    """Write a prepared clip; the name appears when all is written.

    Raises:
        OSError: The disk is full or the file would pass the limit.
    """
    arrays: dict[str, NDArray[Any]] = {"audio": clip.audio.samples}
    for track in clip.tracks:
        key = f"track{track.track_id}"
        arrays |= {f"{key}.{name}": getattr(track, name) for name in _TRACK_ARRAYS}
    for track_id, mouth in clip.mouths.items():
        key = f"mouth{track_id}"
        arrays |= {f"{key}.{name}": getattr(mouth, name) for name in _MOUTH_ARRAYS}
    source = asdict(clip.source) | {"path": clip.source.path.name}
    header = {
        "start_s": clip.audio.start_s,
        "track_ids": [track.track_id for track in clip.tracks],
        "mouths": {str(track_id): mouth.start_s for track_id, mouth in clip.mouths.items()},
        "source": source,
        "n_video_frames": clip.n_video_frames,
        "n_damaged": clip.n_damaged,
        "still_s": clip.still_s,
        "stage_s": clip.stage_s,
    }
    write_arrays(path, arrays, header)


def read_prepared(path: Path, source: Path) -> PreparedClip:
    """Read a prepared clip; crops stay in the file until they are looked at.

    Args:
        path: What `write_prepared` made.
        source: The media file it came from, as this process names it.

    Raises:
        ArrayFileInvalid: It is not such a file, or its parts do not fit each other.
        OSError: It cannot be opened.
    """
    arrays, header = read_arrays(path)
    try:
        return _clip(arrays, header, source)
    except (KeyError, TypeError, ValueError) as error:
        raise ArrayFileInvalid(f"{path.name}: not a prepared clip: {error}") from error


def _clip(
    arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any], source: Path
) -> PreparedClip:
    samples = _finite(np.array(arrays["audio"]))
    audio = Waveform(samples, SAMPLE_RATE_HZ, float(header["start_s"]))
    track_ids = [int(number) for number in header["track_ids"]][:_MAX_TRACKS]
    mouths = {int(number): float(start_s) for number, start_s in header["mouths"].items()}
    wanted = n_video_frames(audio.n_samples)
    return PreparedClip(
        audio,
        tuple(_track(arrays, track_id) for track_id in track_ids),
        {number: _mouth(arrays, number, start_s, wanted) for number, start_s in mouths.items()},
        _source(header["source"], source),
        n_video_frames=int(header["n_video_frames"]),
        n_damaged=int(header["n_damaged"]),
        still_s=float(header["still_s"]),
        stage_s={str(name): float(spent) for name, spent in header["stage_s"].items()},
    )


def _track(arrays: Mapping[str, NDArray[Any]], track_id: int) -> FaceTrack:
    own = [np.array(arrays[f"track{track_id}.{name}"]) for name in _TRACK_ARRAYS]
    return FaceTrack(track_id, own[0], own[1], _finite(own[2]), own[3])


def _mouth(
    arrays: Mapping[str, NDArray[Any]], track_id: int, start_s: float, n_wanted: int
) -> MouthTrack:
    crops, *rest = (arrays[f"mouth{track_id}.{name}"] for name in _MOUTH_ARRAYS)
    if crops.shape[0] != n_wanted or crops.dtype != np.uint8 or crops.ndim != 3:
        raise ValueError(f"expected {n_wanted} crops, found {crops.dtype} {crops.shape}")
    is_visible, landmarks, is_turned, is_obscured = map(np.array, rest)
    return MouthTrack(crops, is_visible, start_s, landmarks, is_turned, is_obscured)


def _source(described: Mapping[str, Any], path: Path) -> SourceInfo:
    fields = {key: value for key, value in described.items() if key not in ("path", "warnings")}
    return SourceInfo(path=path, warnings=tuple(map(str, described["warnings"])), **fields)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.dtype != np.float32 or not np.isfinite(values).all():
        raise ValueError("expected finite float32")
    return values
