"""Heads turned in the crops of the training."""

import numpy as np
import pytest

from avse.training.crop_augmentation import CropAugmentation, augmented
from avse.training.head_turning import HeadTurning, seen_at, turned

SIDE_PX = 122
BARS_PX = (41, 80)
"""A quarter of the distance between the eyes to the left and to the right of the middle."""


def barred(n_frames: int = 4) -> np.ndarray:
    """Grey pictures with two upright black bars, three pixels wide."""
    crops = np.full((n_frames, SIDE_PX, SIDE_PX), 220, np.uint8)
    for middle in BARS_PX:
        crops[:, :, middle - 1 : middle + 2] = 0
    return crops


def bars_of(row: np.ndarray) -> list[float]:
    """Middles of the dark stretches of a row."""
    dark = np.flatnonzero(row < 110)
    return [float(part.mean()) for part in np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)]


def test_a_head_turned_by_nothing_keeps_its_mouth() -> None:
    facing = HeadTurning(share=1, most_deg=0, drift_deg=0)
    kept = turned(barred(), np.random.default_rng(0), facing)
    assert kept.shape == (4, SIDE_PX, SIDE_PX)
    assert kept.dtype == np.uint8
    assert np.abs(kept[:, 61, 30:91].astype(int) - barred()[:, 61, 30:91]).max() <= 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side", [-1, 1])
def test_a_turned_head_shows_a_narrower_mouth_and_what_is_behind_it(seed, side) -> None:
    yaws_deg = side * np.array([0.0, 45.0, 60.0, 80.0])
    crops = seen_at(barred(), yaws_deg, np.random.default_rng(seed))
    facing, little, more = (bars_of(crop[SIDE_PX // 2]) for crop in crops[:3])
    assert facing == pytest.approx(BARS_PX, abs=1)
    assert np.diff(facing) > np.diff(little) > np.diff(more)
    far, near = (slice(0, 12), slice(-12, None))[::-side]
    behind = crops[3][:, near]
    assert np.ptp(behind) == 0  # the head looks to this side: here it ends
    assert behind[0, 0] not in crops[3][:, far]


def test_turning_is_off_unless_asked_for_and_changes_some_windows_only() -> None:
    rng, asked = np.random.default_rng(1), CropAugmentation(turning=HeadTurning(share=0.5))
    assert CropAugmentation().turning.share == 0
    crops = np.full((2, SIDE_PX, SIDE_PX), 220, np.uint8)
    level = [np.ptp(augmented(crops, rng, asked).reshape(2, -1), axis=1).max() for _ in range(40)]
    assert 8 < sum(spread > 0 for spread in level) < 40
