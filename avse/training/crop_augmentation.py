"""What varies between recordings of a mouth: framing, light, focus, things in the way, rate."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from avse.training.head_turning import HeadTurning, turned

CROP_PX = 112
N_WARP_NODES = 4
Crops = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CropAugmentation:
    """How strongly windows of crops are varied; each is one draw for a whole window.

    Attributes:
        rotation_deg: Most the head is tilted.
        scale: Most the mouth is larger or smaller, as a share.
        shift_px: Most it is off the centre.
        contrast: Most the contrast is changed, as a share.
        brightness: Most the brightness is changed, in grey levels.
        gamma: Most the exponent of the grey levels is off one.
        blur_share: Windows that are out of focus.
        blur_px: Their greatest sigma.
        cover_share: Windows in which a patch hides a part of the mouth.
        slow_share: Windows of a camera of 10 to 20 pictures a second.
        warp_px: Most standard deviation of the nodes of a smooth warp that stands still for the
            window, as if the mouth were another person's.
        turning: Heads turned to the side.
    """

    rotation_deg: float = 8.0
    scale: float = 0.12
    shift_px: float = 6.0
    contrast: float = 0.4
    brightness: float = 30.0
    gamma: float = 0.3
    blur_share: float = 0.25
    blur_px: float = 2.5
    cover_share: float = 0.25
    slow_share: float = 0.1
    warp_px: float = 0.0
    turning: HeadTurning = field(default_factory=HeadTurning)


MILD = CropAugmentation(blur_share=0.2, cover_share=0.1, slow_share=0.1)
"""For a tower that is frozen: most windows show the mouth well."""


def augmented(crops: Crops, rng: np.random.Generator, config: CropAugmentation) -> Crops:
    """Cut `[V, S, S]`, S >= 112, to `[V, 112, 112]`, varied; every other window is mirrored."""
    if rng.random() < config.slow_share:
        crops = slowed(crops, rng.uniform(0.4, 0.8))
    if config.turning.share and rng.random() < config.turning.share:
        crops = turned(crops, rng, config.turning)
    framed = _framed(crops, _framing(crops.shape[1], rng, config))
    if config.warp_px:
        framed = _warped(framed, config.warp_px, rng)
    if rng.random() < config.blur_share:
        sigma = rng.uniform(0.5, max(0.5, config.blur_px))
        framed = np.stack([cv2.GaussianBlur(crop, (0, 0), sigma) for crop in framed])
    if rng.random() < config.cover_share:
        framed = _covered(framed, rng)
    return cv2.LUT(framed, _light(rng, config)).reshape(framed.shape).astype(np.uint8)


def slowed(crops: Crops, share: float) -> Crops:
    """The same time at a share of the frame rate: each picture stands until the next."""
    shown = np.floor(np.arange(len(crops)) * share + 1e-6)
    kept: Crops = crops[np.minimum(np.ceil(shown / share - 1e-6), len(crops) - 1).astype(int)]
    return kept


def _framing(
    size_px: int, rng: np.random.Generator, config: CropAugmentation
) -> NDArray[np.float64]:
    """Affine map `[2, 3]` from the cached crop to the cut one."""
    angle = rng.uniform(-config.rotation_deg, config.rotation_deg)
    scale = 1 + rng.uniform(-config.scale, config.scale)
    middle = (size_px - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), angle, scale), np.float64)
    matrix[:, 2] += (CROP_PX - size_px) / 2
    matrix[:, 2] += rng.uniform(-config.shift_px, config.shift_px, 2)
    if rng.random() < 0.5:
        matrix[0] *= -1
        matrix[0, 2] += CROP_PX - 1
    return matrix


def _framed(crops: Crops, matrix: NDArray[np.float64]) -> Crops:
    size = (CROP_PX, CROP_PX)
    border = cv2.BORDER_REPLICATE
    warped: Crops = np.stack(
        [cv2.warpAffine(crop, matrix, size, borderMode=border) for crop in crops]
    ).astype(np.uint8)
    return warped


def _warped(crops: Crops, most_px: float, rng: np.random.Generator) -> Crops:
    """Every picture through one smooth field: other proportions, the same movement."""
    nodes = rng.normal(0, rng.uniform(0, most_px), (2, N_WARP_NODES, N_WARP_NODES))
    size, border = (CROP_PX, CROP_PX), cv2.BORDER_REPLICATE
    rows, columns = np.mgrid[:CROP_PX, :CROP_PX].astype(np.float32)
    x, y = (cv2.resize(n.astype(np.float32), size, interpolation=cv2.INTER_CUBIC) for n in nodes)
    x, y = columns + x, rows + y
    warped: Crops = np.stack(
        [cv2.remap(crop, x, y, cv2.INTER_LINEAR, borderMode=border) for crop in crops]
    ).astype(np.uint8)
    return warped


def _covered(crops: Crops, rng: np.random.Generator) -> Crops:
    """A patch of one grey that stays where it is."""
    height, width = rng.integers(CROP_PX // 8, CROP_PX // 2, 2)
    top, left = rng.integers(0, CROP_PX - height), rng.integers(0, CROP_PX - width)
    crops = crops.copy()
    crops[:, top : top + height, left : left + width] = rng.integers(20, 220)
    return crops


def _light(rng: np.random.Generator, config: CropAugmentation) -> NDArray[np.uint8]:
    """Table `[256]` of new grey levels."""
    level = np.linspace(0, 1, 256) ** (1 + rng.uniform(-config.gamma, config.gamma))
    level = level * 255 * (1 + rng.uniform(-config.contrast, config.contrast))
    level += rng.uniform(-config.brightness, config.brightness)
    return np.clip(np.round(level), 0, 255).astype(np.uint8)
