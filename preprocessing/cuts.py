"""Cuts between shots, seen on tiny grey pictures."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX = (32, 24)


@dataclass(frozen=True, slots=True)
class CutConfig:
    """When two neighbouring pictures belong to different shots.

    Attributes:
        min_difference: Least mean difference of the two thumbnails, grey levels of 255.
        max_correlation: Highest correlation of the two thumbnails; a flash or a fade changes the
            levels but keeps the pattern.
        min_rise: How many times the recent difference it must be; fast motion differs all along.
    """

    min_difference: float = 12.0
    max_correlation: float = 0.7
    min_rise: float = 3.0


class CutDetector:
    """Compares each picture with the one before."""

    def __init__(self, config: CutConfig | None = None) -> None:
        """Start before the first picture."""
        self._config = config or CutConfig()
        self._previous: NDArray[np.float32] | None = None
        self._recent = 0.0

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        """Whether a new shot starts with this picture; False for the first picture."""
        thumbnail = _thumbnail(image)
        previous, self._previous = self._previous, thumbnail
        if previous is None:
            return False
        difference = float(np.abs(thumbnail - previous).mean())
        recent, self._recent = self._recent, 0.7 * self._recent + 0.3 * difference
        if difference < max(self._config.min_difference, self._config.min_rise * recent):
            return False
        if _correlation(thumbnail, previous) > self._config.max_correlation:
            return False
        self._recent = 0.0
        return True


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey picture of a few pixels; a first coarse step keeps large pictures cheap."""
    step = max(1, min(image.shape[0] // 96, image.shape[1] // 128))
    small = cv2.resize(image[::step, ::step], THUMBNAIL_PX, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32).mean(2)  # type: ignore[no-any-return]


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 else 0.0
