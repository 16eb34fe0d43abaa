"""Mouths of turned heads, from mouths seen from the front: what few recordings have."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from preprocessing.mouth import CropConfig

Crops = NDArray[np.uint8]
HALF_MOUTH = 0.4
"""Half of a mouth's width, in distances between the eyes, as all lengths here."""
RADIUS = (0.75, 1.15)
"""Of the bow of teeth and cheeks that a mouth lies on."""
RELIEF = 0.06
"""Standard deviation of what stands out or back from it, over the height of a crop: lips, chin."""
N_NODES = 6
"""Heights at which that is drawn; between them it is smooth."""
NOSE = (0.1, 0.35)
"""How far the nose stands out."""
NOSE_ABOVE = 0.35
"""How far above the lips it begins."""
NOSE_SLOPE = 0.2
"""Height over which it comes out."""
EDGE_PX = 1.2
"""Width of the edge between head and background."""
LEAST_EYES = 0.85
"""A crop of a turned head is as large as if its eyes stood at least so far apart (`face_pose`)."""


@dataclass(frozen=True, slots=True)
class HeadTurning:
    """How far heads are turned, a draw for a whole window.

    Attributes:
        share: Windows with a turned head.
        most_deg: Farthest it is turned to either side, on average over the window.
        drift_deg: Most that it turns further from the window's first picture to its last.
    """

    share: float = 0.0
    most_deg: float = 80.0
    drift_deg: float = 25.0


def turned(crops: Crops, rng: np.random.Generator, config: HeadTurning) -> Crops:
    """Mouths `[V, S, S]` of a head that is turned as far, and turning as fast, as chance has it."""
    middle = rng.uniform(-config.most_deg, config.most_deg)
    drift = rng.uniform(-config.drift_deg, config.drift_deg)
    return seen_at(crops, middle + drift * np.linspace(-0.5, 0.5, len(crops)), rng)


def seen_at(crops: Crops, yaws_deg: NDArray[np.float64], rng: np.random.Generator) -> Crops:
    """Mouths as if the head were turned: narrower, the far side gone, a background beside them.

    A mouth is taken for a picture on a round pillar whose radius changes over its height, so that a
    profile shows nose, lips and chin before something else.

    Args:
        crops: `[V, S, S]` uint8, from the front.
        yaws_deg: `[V]` how far the head is turned in each.
        rng: Draws the pillar and the grey of the background, one for all pictures.
    """
    side_px = crops.shape[1]
    radii = rng.uniform(*RADIUS) + _relief(side_px, rng)
    behind = int(rng.integers(0, 200))
    yaws = np.radians(yaws_deg)
    return np.stack(
        [_seen(crop, yaw, radii, behind) for crop, yaw in zip(crops, yaws, strict=True)]
    ).astype(np.uint8)


def _relief(side_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """`[S]` what stands out at each height; nothing in the middle, where the lips are."""
    nodes = rng.normal(0, RELIEF, (N_NODES, 1))
    relief = cv2.resize(nodes, (1, side_px), interpolation=cv2.INTER_CUBIC)[:, 0]
    height = (np.arange(side_px) + 0.5 - side_px / 2) / _px_per_eyes(side_px)  # down is positive
    nose = rng.uniform(*NOSE) * np.clip((-height - NOSE_ABOVE) / NOSE_SLOPE, 0, 1)
    return np.asarray(relief - relief[side_px // 2] + nose)


def _px_per_eyes(side_px: int) -> float:
    return side_px / CropConfig().width_eye_distances


def _seen(crop: Crops, yaw: float, radii: NDArray[np.float64], behind: int) -> Crops:
    """One picture `[S, S]` of a head turned by `yaw` radians."""
    side_px = crop.shape[0]
    from_middle = np.arange(side_px) + 0.5 - side_px / 2
    shrunk = max(float(np.cos(yaw)), LEAST_EYES)
    rows = from_middle * shrunk + side_px / 2 - 0.5
    radius = np.interp(rows, np.arange(side_px), radii)[:, None]
    px_per_eyes = _px_per_eyes(side_px)
    across = from_middle[None] * shrunk / px_per_eyes  # in distances between the eyes, as is x
    x = across + _middle_of_mouth(radii[side_px // 2], yaw)
    angle = np.arcsin(np.clip(x / radius, -1, 1)) - yaw
    facing = radius * np.sin(np.clip(angle, -np.pi / 2, np.pi / 2))
    columns = (facing * px_per_eyes + side_px / 2 - 0.5).astype(np.float32)
    all_rows = np.repeat(rows[:, None], side_px, 1).astype(np.float32)
    seen = cv2.remap(crop, columns, all_rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    beyond = np.clip((np.abs(x) - radius) * px_per_eyes / shrunk / EDGE_PX + 0.5, 0, 1)
    return np.asarray(seen * (1 - beyond) + behind * beyond)


def _middle_of_mouth(radius: float, yaw: float) -> float:
    """Where the middle of what is seen of the lips comes to lie, from the pillar's axis."""
    corner = np.arcsin(min(HALF_MOUTH / radius, 1))
    ends = np.clip(np.array([yaw - corner, yaw + corner]), -np.pi / 2, np.pi / 2)
    return float(radius * np.sin(ends).mean())
