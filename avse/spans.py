"""Stretches of time, from what is marked in each frame."""

import numpy as np
from numpy.typing import NDArray

Spans = tuple[tuple[float, float], ...]


def runs(is_marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """First frame of each run of marked frames `[N]`, and the first behind it: `[R, 2]`."""
    padded = np.concatenate([[False], is_marked, [False]])
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def spans_s(is_marked: NDArray[np.bool_], frames_per_s: float, duration_s: float) -> Spans:
    """First and last second of each run of marked frames `[N]`, none beyond `duration_s`."""
    edges = runs(is_marked) / frames_per_s
    return tuple((float(a), round(min(float(b), duration_s), 3)) for a, b in edges)
