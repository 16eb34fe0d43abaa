"""`PreparedStreams` to a file and back: what a decode child leaves for a recognition head."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.stream_config import StreamConfig
from preprocessing.streams import PreparedStreams
from server.array_file import ArrayFileInvalid, read_arrays, write_arrays

STREAMS = "streams.arrays"
_TYPES = {"rgb": "uint8", "depth": "uint8", "flow": "int8", "skeleton": "float32"}
_MAX_NOTES = 20
_NOTE_CHARS = 300


def write_streams(path: Path, prepared: PreparedStreams) -> None:
    """Write prepared streams; the name appears when all is written.

    Raises:
        OSError: The disk is full or the file would pass the limit.
    """
    arrays: dict[str, NDArray[Any]] = {
        "times_s": prepared.times_s,
        "skeleton_times_s": prepared.skeleton_times_s,
        **prepared.arrays,
    }
    header = {
        "duration_s": prepared.duration_s,
        "streams": list(prepared.streams),
        "notes": list(prepared.notes),
    }
    write_arrays(path, arrays, header)


def read_streams(path: Path, config: StreamConfig) -> PreparedStreams:
    """Read prepared streams; pictures stay in the file until they are looked at.

    Args:
        path: What `write_streams` made.
        config: The head's: nothing but what it looks at is taken.

    Raises:
        ArrayFileInvalid: It is not such a file, or its parts do not fit each other.
        OSError: It cannot be opened.
    """
    arrays, header = read_arrays(path)
    try:
        return _streams(arrays, header, config)
    except (KeyError, TypeError, ValueError) as error:
        raise ArrayFileInvalid(f"{path.name}: not prepared streams: {error}") from error


def _streams(
    arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any], config: StreamConfig
) -> PreparedStreams:
    duration_s = float(header["duration_s"])
    if not 0.0 <= duration_s < 1e6:
        raise ValueError(f"duration of {duration_s} s")
    notes = tuple(str(note)[:_NOTE_CHARS] for note in header["notes"][:_MAX_NOTES])
    names = [name for name in config.streams if name in header["streams"]]
    return PreparedStreams(
        _times(arrays["times_s"]),
        duration_s,
        {name: _checked(name, arrays[name], config) for name in names},
        _times(arrays["skeleton_times_s"]),
        notes,
    )


def _times(times_s: NDArray[Any]) -> NDArray[np.float64]:
    if times_s.dtype != np.float64 or times_s.ndim != 1 or not np.isfinite(times_s).all():
        raise ValueError("expected finite times")
    return np.array(times_s)


def _checked(name: str, array: NDArray[Any], config: StreamConfig) -> NDArray[Any]:
    """A stream of the head's own size, so that no file makes the network eat all memory."""
    side, shape = config.size_px, config.skeleton
    expected: Mapping[str, list[tuple[int, ...]]] = {
        "rgb": [(side, side, 3)],
        "depth": [(side, side)],
        "flow": [(side, side, 2)],
        "skeleton": [(n, shape.n_joints, 3) for n in range(1, shape.max_people + 1)],
    }
    if array.dtype.name != _TYPES[name] or array.shape[1:] not in expected[name]:
        raise ValueError(f"{name}: found {array.dtype} {array.shape}")
    if name != "skeleton":
        return array
    if not np.isfinite(array).all():
        raise ValueError("skeleton: expected finite coordinates")
    return np.array(array)
