"""Mouth crops that show no lips, made from those that do: covered, dark, or of another place."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]

MOUTH_HALF_WIDTH, MOUTH_HALF_HEIGHT = 0.26, 0.13
"""Of the mouth in the middle of a crop, as shares of its side."""
MOST_LEFT, LEAST_HIDDEN = 0.15, 0.75


def covered(crop: Crop, others: Sequence[Crop], rng: np.random.Generator) -> Crop:
    """Something before the mouth, over at least three quarters of it.

    Args:
        crop: `[S, S]`.
        others: Pictures of anything, whose texture the thing may have, at least as large.
        rng: The only source of chance.
    """
    return _with_thing(crop, others, rng, hides=True)


def beside(crop: Crop, others: Sequence[Crop], rng: np.random.Generator) -> Crop:
    """Something in the picture that leaves the mouth free but for a corner."""
    return _with_thing(crop, others, rng, hides=False)


def bearded(crop: Crop, rng: np.random.Generator) -> Crop:
    """Darker around the lips, as a beard or a moustache is; the lips themselves stay."""
    size = crop.shape[0]
    middle = np.array([size / 2, size * rng.uniform(0.48, 0.54)])
    down, across = (np.mgrid[:size, :size] - middle[::-1, None, None]) / size
    lips = (across / rng.uniform(0.24, 0.32)) ** 2 + (down / rng.uniform(0.09, 0.16)) ** 2
    hair = (across / rng.uniform(0.32, 0.6)) ** 2 + (down / rng.uniform(0.2, 0.6)) ** 2
    grows = (lips > 1) & (hair < 1)
    if rng.random() < 0.5:
        grows &= down < 0  # a moustache alone
    soft = cv2.GaussianBlur(grows.astype(np.float32), (0, 0), rng.uniform(1, 4))
    strands = cv2.GaussianBlur(rng.standard_normal((size, size)), (0, 0), rng.uniform(0.5, 1.5))
    darker = (
        crop * (1 - soft * rng.uniform(0.2, 0.8))
        + rng.uniform(0, 15) * soft * strands / strands.std()
    )
    grown: Crop = np.clip(darker, 0, 255).astype(np.uint8)
    return grown


def _with_thing(
    crop: Crop, others: Sequence[Crop], rng: np.random.Generator, *, hides: bool
) -> Crop:
    size = crop.shape[0]
    for _ in range(50):
        shape = _shape(size, rng, near=0.15 if hides else 0.55)
        share = float(shape[_mouth(size)].mean())
        if (share >= LEAST_HIDDEN) if hides else (share <= MOST_LEFT and shape.mean() > 0.05):
            break
    else:
        return crop if not hides else _filled(crop, others, rng)
    soft = cv2.GaussianBlur(shape, (0, 0), rng.uniform(0.3, 2.0))
    thing = _texture(size, others, rng)
    mixed = crop * (1 - soft) + thing * soft
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _filled(crop: Crop, others: Sequence[Crop], rng: np.random.Generator) -> Crop:
    return np.clip(_texture(crop.shape[0], others, rng), 0, 255).astype(np.uint8)


def _mouth(size: int) -> tuple[slice, slice]:
    rows, columns = round(size * MOUTH_HALF_HEIGHT), round(size * MOUTH_HALF_WIDTH)
    middle = size // 2
    return slice(middle - rows, middle + rows), slice(middle - columns, middle + columns)


def _shape(size: int, rng: np.random.Generator, near: float) -> NDArray[np.float32]:
    """`[S, S]` 0 or 1: an ellipse, a box, or fingers side by side."""
    canvas = np.zeros((size, size), np.float32)
    centre = size * (0.5 + rng.uniform(-near, near, 2))
    half = size * rng.uniform(0.14, 0.6, 2)
    angle = float(rng.uniform(0, 180))
    kind = rng.integers(3)
    if kind == 0:
        axes = (round(half[0]), round(half[1]))
        cv2.ellipse(canvas, (round(centre[0]), round(centre[1])), axes, angle, 0, 360, 1.0, -1)
    elif kind == 1:
        corners = cv2.boxPoints((centre.tolist(), (2 * half).tolist(), angle))
        cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1.0)
    else:
        _draw_fingers(canvas, centre, half, np.radians(angle), rng)
    return canvas


def _draw_fingers(
    canvas: NDArray[np.float32],
    centre: NDArray[np.float64],
    half: NDArray[np.float64],
    angle: float,
    rng: np.random.Generator,
) -> None:
    n_fingers = int(rng.integers(2, 6))
    width = 2 * half[1] / n_fingers
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    for index in range(n_fingers):
        middle = centre + across * (index - (n_fingers - 1) / 2) * width
        ends = [middle + along * half[0] * rng.uniform(0.8, 1.2) * side for side in (-1, 1)]
        first, last = (tuple(np.round(end).astype(int).tolist()) for end in ends)
        cv2.line(canvas, first, last, 1.0, max(2, round(width * rng.uniform(0.9, 1.05))))


def _texture(size: int, others: Sequence[Crop], rng: np.random.Generator) -> NDArray[np.float32]:
    """`[S, S]` grey levels: a piece of another picture, or cloudy, shaded grey."""
    if rng.random() < 0.5 and others:
        other = others[int(rng.integers(len(others)))]
        return elsewhere(other, size, rng).astype(np.float32)
    cloud = cv2.GaussianBlur(
        rng.standard_normal((size, size)).astype(np.float32), (0, 0), rng.uniform(0.5, 20)
    )
    cloud = cloud * (rng.uniform(0, 25) / max(float(cloud.std()), 1e-6))
    line = np.linspace(-1, 1, size, dtype=np.float32)
    shade = rng.uniform(-40, 40) * line + rng.uniform(-40, 40) * line[:, None]
    return np.asarray(rng.uniform(10, 230) + cloud + shade, np.float32)


def elsewhere(picture: Crop, size: int, rng: np.random.Generator) -> Crop:
    """A square of a picture `[H, W]` of any place and scale, as `[S, S]`."""
    height, width = picture.shape
    side = int(min(height, width) * rng.uniform(0.15, 0.45))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    part = picture[top : top + side, left : left + side]
    scaled = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(scaled, np.uint8)


def darkened(crop: Crop, light: float, noise: float, rng: np.random.Generator) -> Crop:
    """A share of the light, and the noise of the camera in grey levels."""
    dim = crop * light + rng.normal(0, noise, crop.shape)
    return np.clip(dim, 0, 255).astype(np.uint8)
