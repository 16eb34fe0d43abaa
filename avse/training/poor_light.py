"""Pictures taken where light is short or comes from the side, or from far away."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Crops = NDArray[np.uint8]
MOST_NOISE = 6.0
"""Largest standard deviation of what the camera adds, in grey levels."""
NOISE_GRAIN_PX = 1.0
"""Largest sigma at which that is smoothed, as cameras and codecs do."""


@dataclass(frozen=True, slots=True)
class PoorLight:
    """How short light may be, a draw for a whole window.

    Attributes:
        share: Windows in poor light.
        least: Least share of the light that is left; shares are drawn evenly on a log scale.
        side: Most that one edge of the picture is lit more than the other, natural log.
        coarse_share: Windows of a mouth that is far away.
        coarse_px: Fewest pixels across such a crop.
    """

    share: float = 0.0
    least: float = 0.1
    side: float = 1.5
    coarse_share: float = 0.0
    coarse_px: int = 24


def poorly_lit(crops: Crops, rng: np.random.Generator, config: PoorLight) -> Crops:
    """`[V, S, S]` as varied by chance; the same light, and other noise, in every picture."""
    if config.coarse_share and rng.random() < config.coarse_share:
        crops = coarse(crops, int(rng.integers(config.coarse_px, crops.shape[1])))
    if not config.share or rng.random() >= config.share:
        return crops
    shade = _shade(crops.shape[1], rng, config)
    left = np.exp(rng.uniform(np.log(config.least), 0))
    noise = _noise(crops.shape, rng)
    lit: Crops = np.clip(np.round(crops * (shade * left) + noise), 0, 255).astype(np.uint8)
    return lit


def coarse(crops: Crops, side_px: int) -> Crops:
    """What is left of crops `[V, S, S]` that were filmed `side_px` pixels wide."""
    size = crops.shape[2], crops.shape[1]
    small = [cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_AREA) for crop in crops]
    seen = [cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC) for crop in small]
    return np.stack(seen).astype(np.uint8)


def _shade(side_px: int, rng: np.random.Generator, config: PoorLight) -> NDArray[np.float64]:
    """`[S, S]` light from one side; 1 in the middle."""
    rows, columns = np.mgrid[:side_px, :side_px] / (side_px - 1) - 0.5
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, config.side)
    return np.asarray(np.exp(slope * (np.cos(angle) * columns + np.sin(angle) * rows)))


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """`[V, S, S]` of one strength and one grain."""
    noise = rng.normal(0, rng.uniform(0, MOST_NOISE), shape)
    grain = rng.uniform(0, NOISE_GRAIN_PX)
    if grain < 0.3:  # narrower than a pixel: as it is
        return noise
    return np.stack([cv2.GaussianBlur(picture, (0, 0), grain) for picture in noise])
