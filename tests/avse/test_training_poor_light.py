"""Poor light in the crops of the training."""

from dataclasses import replace

import numpy as np

from avse.training.crop_augmentation import CropAugmentation, augmented
from avse.training.poor_light import PoorLight, coarse, poorly_lit

SIDE_PX = 112
DARK = PoorLight(share=1, least=0.1, side=0)


def ramp(n_frames: int = 3) -> np.ndarray:
    """Pictures that grow lighter to the right."""
    row = np.arange(SIDE_PX, dtype=np.uint8) + 100
    return np.broadcast_to(row, (n_frames, SIDE_PX, SIDE_PX)).copy()


def drawn(config: PoorLight, n: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [poorly_lit(ramp(), rng, config) for _ in range(n)]


def test_light_is_lost_evenly_on_a_log_scale_and_noise_is_new_in_every_picture() -> None:
    lit = drawn(DARK)
    levels = np.array([crops.mean() for crops in lit]) / ramp().mean()
    assert all(crops.shape == ramp().shape and crops.dtype == np.uint8 for crops in lit)
    assert 0.08 < levels.min() < 0.15
    assert 0.8 < levels.max() < 1.05
    assert 0.2 < np.median(levels) < 0.5
    assert np.mean([np.any(crops[0] != crops[1]) for crops in lit]) > 0.9


def test_light_from_the_side_leaves_the_middle_alone() -> None:
    asked = replace(DARK, least=1.0, side=1.5)
    slopes = []
    for crops in drawn(asked):
        share = (crops / ramp()).mean(0)
        assert abs(share[54:58, 54:58].mean() - 1) < 0.1
        slopes.append(np.log(share[:, 100].mean() / share[:, 11].mean()))
    assert min(slopes) < -0.5
    assert max(slopes) > 0.3


def test_a_mouth_far_away_loses_what_is_fine_and_keeps_its_level() -> None:
    stripes = ramp()
    stripes[:, :, ::2] = 0
    seen = coarse(stripes, 28)
    assert abs(seen.mean() - stripes.mean()) < 3
    assert seen[:, :, 20:-20].std() < 0.3 * stripes.std()
    assert np.abs(coarse(ramp(), 56).astype(int) - ramp())[:, 4:-4, 4:-4].max() <= 2


def test_poor_light_is_off_unless_asked_for_and_draws_nothing_then() -> None:
    assert CropAugmentation().poor_light == PoorLight()
    rng = np.random.default_rng(1)
    assert poorly_lit(ramp(), rng, PoorLight()) is not None
    assert rng.random() == np.random.default_rng(1).random()
    crops = np.full((2, 122, 122), 200, np.uint8)
    config = CropAugmentation(contrast=0, brightness=0, gamma=0, cover_share=0)
    some = replace(config, poor_light=PoorLight(share=0.5, side=0))
    levels = [augmented(crops, rng, some).mean() for _ in range(40)]
    assert 8 < sum(level < 190 for level in levels) < 32
