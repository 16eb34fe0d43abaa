"""Windows of prepared streams as the networks take them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.skeleton import centre_skeleton, stretch_skeleton
from preprocessing.stream_config import StreamConfig
from preprocessing.streams import FLOW_STEPS, PreparedStreams

Span = tuple[int, int]
"""First picture of a window and the one after its last."""


def whole(prepared: PreparedStreams) -> Span:
    """The clip as one window."""
    return 0, len(prepared.times_s)


def spans(n_pictures: int, window: int, stride: int) -> list[Span]:
    """Windows over a clip; the last one ends with it, a short clip is one window."""
    if n_pictures <= window:
        return [(0, n_pictures)]
    starts = list(range(0, n_pictures - window + 1, stride))
    if starts[-1] != n_pictures - window:
        starts.append(n_pictures - window)
    return [(start, start + window) for start in starts]


def window_inputs(
    prepared: PreparedStreams, config: StreamConfig, span: Span
) -> dict[str, NDArray[np.float32]]:
    """A window's streams in -1..1, without a batch axis.

    Returns:
        `rgb` `[3, T, S, S]`, `depth` `[1, T, S, S]`, `flow` `[2, T, S, S]` with T the config's
        `n_frames`, `skeleton` `[3, T', J, P]` in metres from the torso.
    """
    return dict(_inputs(prepared, config, span))


def _inputs(
    prepared: PreparedStreams, config: StreamConfig, span: Span
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    indices = sampled(span, config.n_frames)
    for name, array in prepared.arrays.items():
        if name == "depth":
            limits = config.normalisation.depth
            scaled = 2 * (array[indices] - limits.low) / (limits.high - limits.low) - 1
            yield name, np.clip(scaled, -1, 1).astype(np.float32)[None]
        elif name == "rgb":
            yield name, _channels_first(array[indices] / np.float32(127.5) - np.float32(1))
        elif name == "flow":
            yield name, _channels_first(array[indices] / np.float32(FLOW_STEPS))
        else:
            yield name, _skeleton(prepared, config, span)


def sampled(span: Span, n_frames: int) -> NDArray[np.intp]:
    """Indices of `n_frames` pictures spread evenly over a window, its ends included."""
    return np.round(np.linspace(span[0], span[1] - 1, n_frames)).astype(np.intp)


def _skeleton(prepared: PreparedStreams, config: StreamConfig, span: Span) -> NDArray[np.float32]:
    """`[3, T', J, P]`: every person centred, the window's part of the movement stretched."""
    shape, people = config.skeleton, prepared.arrays["skeleton"]
    start, length = _share(prepared, span)
    stretched = [
        stretch_skeleton(
            centre_skeleton(people[:, person], shape.torso_joint), shape.n_frames, start, length
        )
        for person in range(people.shape[1])
    ]
    return np.ascontiguousarray(np.stack(stretched, -1).transpose(2, 0, 1, 3))


def _share(prepared: PreparedStreams, span: Span) -> tuple[float, float]:
    """Where a window begins in the skeleton's movement and how much it takes, 0..1."""
    if span == whole(prepared):
        return 0.0, 1.0
    times_s = prepared.skeleton_times_s
    total_s = float(times_s[-1] - times_s[0])
    if total_s <= 0.0:
        return 0.0, 1.0
    first_s, last_s = prepared.times_s[span[0]], prepared.times_s[span[1] - 1]
    start = float(np.clip((first_s - times_s[0]) / total_s, 0.0, 1.0))
    end = float(np.clip((last_s - times_s[0]) / total_s, start, 1.0))
    return start, end - start


def _channels_first(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0), np.float32)
