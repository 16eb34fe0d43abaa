"""What can happen to the sight of a mouth, each as strong as one asks: `late:2`, `blur:4`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from avse.evaluation.mixtures import stream
from avse.evaluation.strengths import kind_and_strength, shown_controls
from avse.training.crop_augmentation import slowed
from preprocessing.timeline import VIDEO_FPS
from preprocessing.types import MouthTrack

Crops = np.ndarray
Change = Callable[[Crops, np.ndarray, float, np.random.Generator], tuple[Crops, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One kind of bad sight.

    Attributes:
        title: With the unit of its strength, for charts.
        change: Crops `[V, H, W]`, visibility `[V]`, strength and random numbers to new ones.
        low: Least strength.
        high: Greatest strength.
        shown: Strengths of the standard curves.
        none: The strength at which nothing happens.
    """

    title: str
    change: Change
    low: float
    high: float
    shown: tuple[float, ...]
    none: float = 0.0


def disturbed(track: MouthTrack, control: str, seed: int, clip: str) -> MouthTrack:
    """The mouth as a control such as `hidden:0.5` leaves it; the same seed, the same result.

    Raises:
        InvalidOptions: There is no such disturbance, or its strength is out of range.
    """
    kind, strength = parse_disturbance(control)
    rng = stream(seed, clip, kind.title)
    crops, is_visible = kind.change(track.crops.copy(), track.is_visible.copy(), strength, rng)
    return replace(track, crops=crops, is_visible=is_visible)


def parse_disturbance(control: str) -> tuple[Disturbance, float]:
    """`NAME:STRENGTH` as both.

    Raises:
        InvalidOptions: It is none, or out of range.
    """
    return kind_and_strength(control, DISTURBANCES, "lips")


def robustness_controls() -> tuple[str, ...]:
    """Every disturbance at its standard strengths, as controls."""
    return shown_controls(DISTURBANCES)


def _hidden(
    crops: Crops, is_visible: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """No face in one stretch: the tracker says so."""
    first, last = _stretch(len(crops), share, rng)
    crops[first:last] = 0
    is_visible[first:last] = False
    return crops, is_visible


def _covered(
    crops: Crops, is_visible: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """A hand over the mouth in one stretch: the face is still found."""
    first, last = _stretch(len(crops), share, rng)
    height, width = crops.shape[1:]
    middle = (round(width * rng.uniform(0.4, 0.6)), round(height * rng.uniform(0.45, 0.6)))
    hand = cv2.GaussianBlur(rng.uniform(0, 255, (height, width)).astype(np.float32), (0, 0), 9)
    skin = np.clip(rng.uniform(90, 190) + (hand - hand.mean()) * 3, 0, 255).astype(np.uint8)
    axes = (round(width * 0.42), round(height * 0.34))
    area = np.zeros((height, width), np.uint8)
    cv2.ellipse(area, middle, axes, rng.uniform(-30, 30), 0, 360, 1, -1)
    crops[first:last] = np.where(area.astype(np.bool_), skin, crops[first:last])
    return crops, is_visible


def _stretch(n_frames: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    n_taken = round(n_frames * share)
    first = int(rng.integers(0, n_frames - n_taken + 1))
    return first, first + n_taken


def _late(
    crops: Crops, is_visible: np.ndarray, n_frames: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """The picture so many frames behind the sound (below zero: ahead of it)."""
    places = np.clip(np.arange(len(crops)) - round(n_frames), 0, max(0, len(crops) - 1))
    return crops[places], is_visible[places]


def _slow(
    crops: Crops, is_visible: np.ndarray, fps: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """A camera of fewer pictures a second: each stands until the next."""
    share = fps / VIDEO_FPS
    return slowed(crops, share), slowed(is_visible, share)


def _blurred(
    crops: Crops, is_visible: np.ndarray, sigma_px: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """Out of focus."""
    if sigma_px:
        crops = np.stack([cv2.GaussianBlur(crop, (0, 0), sigma_px) for crop in crops])
    return crops, is_visible


def _dark(
    crops: Crops, is_visible: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """So much of the light is gone, and the camera adds noise of 4 grey levels."""
    noise = rng.normal(0, 4 if share else 0, crops.shape)
    dim = np.clip(crops * (1 - share) + noise, 0, 255).astype(np.uint8)
    return dim, is_visible


def _turned(
    crops: Crops, is_visible: np.ndarray, degrees: float, rng: np.random.Generator
) -> tuple[Crops, np.ndarray]:
    """A head turned aside: the far half of the mouth narrower than the near one.

    A flat mouth seen through a perspective; a real profile hides more than that.
    """
    height, width = crops.shape[1:]
    near, far = np.cos(np.radians(degrees)), 0.3 * np.sin(np.radians(degrees))
    left, right = width / 2 * (1 - near), width / 2 * (1 + near)
    drop = height / 2 * far
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = np.array([[left, 0], [right, drop], [right, height - drop], [left, height]], np.float32)
    if rng.random() < 0.5:
        seen = (np.array([width, 0], np.float32) + seen * [-1, 1])[[1, 0, 3, 2]].astype(np.float32)
    view = cv2.getPerspectiveTransform(corners, seen)
    border = cv2.BORDER_REPLICATE
    turned = [cv2.warpPerspective(crop, view, (width, height), borderMode=border) for crop in crops]
    return np.stack(turned) if turned else crops, is_visible


DISTURBANCES: dict[str, Disturbance] = {
    "hidden": Disturbance("face hidden, share of the time", _hidden, 0, 1, (0.25, 0.5, 0.75, 1)),
    "covered": Disturbance("hand over the mouth, share", _covered, 0, 1, (0.25, 0.5, 0.75, 1)),
    "fps": Disturbance("pictures a second", _slow, 1, 25, (15, 12, 8, 5), VIDEO_FPS),
    "late": Disturbance("picture late, frames", _late, -25, 25, (-3, -2, -1, 1, 2, 3)),
    "blur": Disturbance("blur, sigma in pixels", _blurred, 0, 40, (2, 4, 8)),
    "dark": Disturbance("light lost, share", _dark, 0, 1, (0.5, 0.8, 0.95)),
    "turned": Disturbance("head turned, degrees", _turned, 0, 80, (20, 40, 60)),
}
