"""A portrait whose mouth moves: the astronaut of scikit-image (NASA, public domain)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray

FRAME_PX = 480
CROP_PX = 240
CROP_CENTRE = (224.0, 128.0)

# The mouth in the portrait, pixels: inner edges of both lips between its corners.
LIP_X = (203.0, 207.0, 211.0, 216.0, 222.0, 228.0, 232.0, 236.0, 240.0, 244.5)
UPPER_LIP_Y = (139.7, 141.2, 142.5, 143.4, 143.9, 143.4, 142.7, 142.0, 141.3, 141.1)
LOWER_LIP_Y = (139.7, 144.0, 147.0, 149.0, 149.8, 149.7, 148.8, 146.8, 144.5, 141.1)
CHIN_Y = 183.0
MOUTH_CENTRE = (223.7, 146.0)
CAVITY_RGB = (52, 18, 18)

FloatImage = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MouthShape:
    """Pose of the mouth in one frame.

    Attributes:
        openness: Gap between the lips relative to the portrait's smile.
        width: Width relative to the portrait's smile.
    """

    openness: float
    width: float


def portrait() -> NDArray[np.uint8]:
    """The portrait that ships inside scikit-image: `[512, 512, 3]` uint8 RGB, no download.

    Raises:
        FileNotFoundError: This scikit-image ships without it.
    """
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(f"{path}: expected the portrait of scikit-image, found no picture")
    return np.ascontiguousarray(image[:, :, ::-1]).astype(np.uint8)


def talking_frames(
    openness: NDArray[np.float64], width: NDArray[np.float64], fps: float = 25.0
) -> Iterator[NDArray[np.uint8]]:
    """The portrait speaking, its head swaying a little: one `[480, 480, 3]` uint8 RGB a step.

    Args:
        openness: `[V]` as `demo_voice.Utterance` has it.
        width: `[V]` likewise.
        fps: Frames per second, for the pace of the head.
    """
    image = portrait()
    for index, (gap, wide) in enumerate(zip(openness, width, strict=True)):
        grid_x, grid_y = _sway(index / fps)
        yield draw_mouth(image, grid_x, grid_y, MouthShape(float(gap), float(wide)))


def draw_mouth(
    image: NDArray[np.uint8], grid_x: FloatImage, grid_y: FloatImage, shape: MouthShape
) -> NDArray[np.uint8]:
    """Sample the portrait at the given points with its mouth in another shape.

    Args:
        image: `[512, 512, 3]` uint8 RGB.
        grid_x: `[H, W]` column of every output pixel in the portrait, pixels.
        grid_y: `[H, W]` row likewise.
        shape: Pose of the mouth.
    """
    near = _mouth_region(grid_x, grid_y)
    x, y = grid_x.copy(), grid_y.copy()
    x[near], y[near], hole = _warp(grid_x[near], grid_y[near], shape)
    picture = _sample(image, x, y)
    hole = hole[..., None]
    inside = picture[near] * (1 - hole) + np.array(CAVITY_RGB, np.float32) * hole
    picture[near] = inside.round().astype(np.uint8)
    return picture


def _mouth_region(grid_x: FloatImage, grid_y: FloatImage) -> tuple[slice, slice]:
    """Rows and columns of the output that the mouth can move."""
    is_near = np.abs(grid_x - MOUTH_CENTRE[0]) < 60.0
    is_near &= (grid_y > MOUTH_CENTRE[1] - 35.0) & (grid_y < CHIN_Y)
    rows, columns = np.flatnonzero(is_near.any(axis=1)), np.flatnonzero(is_near.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _warp(
    grid_x: FloatImage, grid_y: FloatImage, shape: MouthShape
) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Where to sample instead, and the share of the dark cavity, all `[H, W]`."""
    x = _widen(grid_x, grid_y, shape.width)
    upper = np.interp(x, LIP_X, UPPER_LIP_Y).astype(np.float32)
    lower = np.interp(x, LIP_X, LOWER_LIP_Y).astype(np.float32)
    drop = (lower - upper) * (shape.openness - 1.0)
    moved_lip = lower + drop
    depth = np.clip((grid_y - moved_lip) / (CHIN_Y - moved_lip), 0.0, 1.0)
    below = grid_y - drop * (1.0 - depth * depth * (3.0 - 2.0 * depth))
    y = np.where((grid_y > moved_lip) & (grid_y < CHIN_Y), below, grid_y)
    hole = np.clip(1.5 * (grid_y - lower), 0, 1) * np.clip(1.5 * (moved_lip - grid_y), 0, 1)
    return x, y, np.where(lower - upper > 0.3, hole, 0.0)


def _sway(time_s: float) -> tuple[FloatImage, FloatImage]:
    """Portrait coordinates `[480, 480]` of each output pixel for a slowly moving head."""
    angle = np.deg2rad(1.6 * np.sin(2 * np.pi * 0.31 * time_s))
    shift_x = 2.5 * np.sin(2 * np.pi * 0.23 * time_s + 1.0)
    shift_y = 1.5 * np.sin(2 * np.pi * 0.37 * time_s)
    steps = (np.arange(FRAME_PX) + 0.5) * CROP_PX / FRAME_PX - CROP_PX / 2
    across, down = np.meshgrid(steps, steps)
    x = CROP_CENTRE[0] + shift_x + across * np.cos(angle) - down * np.sin(angle)
    y = CROP_CENTRE[1] + shift_y + across * np.sin(angle) + down * np.cos(angle)
    return x.astype(np.float32), y.astype(np.float32)


def _widen(grid_x: FloatImage, grid_y: FloatImage, width: float) -> FloatImage:
    """Columns to sample from so that the mouth becomes narrower or wider; none move far off."""
    across = (grid_x - MOUTH_CENTRE[0]) / 25.0
    down = (grid_y - MOUTH_CENTRE[1]) / 22.0
    near = np.exp(-(across**2) - down**4)
    stretch = 1.0 + near * (1.0 / width - 1.0)
    return np.asarray(MOUTH_CENTRE[0] + (grid_x - MOUTH_CENTRE[0]) * stretch, dtype=np.float32)


def _sample(image: NDArray[np.uint8], x: FloatImage, y: FloatImage) -> NDArray[np.uint8]:
    """Bicubic lookup: `[H, W, 3]`; pixel i covers [i, i + 1)."""
    flags = cv2.INTER_CUBIC
    picture = cv2.remap(image, x - 0.5, y - 0.5, flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picture, dtype=np.uint8)
