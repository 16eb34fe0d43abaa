"""Pictures that stand still: a call that froze, a portrait in place of a film."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.types import Frame

Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class StillConfig:
    """When a picture counts as frozen.

    Attributes:
        max_difference: Most that any looked-at point differs from the picture before, grey levels
            of 255; a camera's noise alone differs more, a repeated picture coded anew less.
        min_s: Shortest stretch: slow films repeat pictures too, but not for so long.
        n_points: Rows and columns that are looked at.
    """

    max_difference: int = 3
    min_s: float = 0.5
    n_points: int = 160


class StillPictures:
    """Finds the stretches in which the picture does not change; pictures come in order of time."""

    def __init__(self, config: StillConfig = StillConfig()) -> None:
        """Start before the first picture."""
        self._config = config
        self._previous: NDArray[np.int16] | None = None
        self._since_s = 0.0
        self._last_s = 0.0
        self._shown_s = 0.0
        self._spans_s: list[Span] = []

    def add(self, frame: Frame) -> None:
        """Take the next picture."""
        points = self._points(frame.image)
        if not self._is_same(points):
            self._end(frame.time_s)
            self._since_s = frame.time_s
        self._shown_s = frame.time_s - self._last_s
        self._previous, self._last_s = points, frame.time_s

    def spans_s(self) -> tuple[Span, ...]:
        """Start and end, clip clock, of each stretch of repeated pictures so far."""
        self._end(self._last_s + self._shown_s)
        return tuple(self._spans_s)

    def _is_same(self, points: NDArray[np.int16]) -> bool:
        if self._previous is None or self._previous.shape != points.shape:
            return False
        return int(np.abs(points - self._previous).max()) <= self._config.max_difference

    def _end(self, end_s: float) -> None:
        if self._previous is not None and self._last_s - self._since_s >= self._config.min_s:
            self._spans_s.append((self._since_s, end_s))
        self._since_s = end_s

    def _points(self, image: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Green of points spread evenly over the picture."""
        rows, columns = (max(1, n // self._config.n_points) for n in image.shape[:2])
        return image[::rows, ::columns, 1].astype(np.int16)


def is_within(times_s: NDArray[np.float64], spans_s: Sequence[Span]) -> NDArray[np.bool_]:
    """Which of the times lie in one of the stretches, starts included."""
    within = np.zeros(times_s.shape, np.bool_)
    for first_s, last_s in spans_s:
        within |= (times_s >= first_s) & (times_s < last_s)
    return within
