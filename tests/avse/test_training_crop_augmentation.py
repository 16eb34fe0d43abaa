"""What may vary between crops, and what may not."""

from dataclasses import replace

import numpy as np

from avse.training.crop_augmentation import CROP_PX, CropAugmentation, augmented, slowed

STILL = CropAugmentation(
    rotation_deg=0, scale=0, shift_px=0, contrast=0, brightness=0, gamma=0,
    blur_share=0, cover_share=0, slow_share=0,
)  # fmt: skip


def window(n_frames: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n_frames, 122, 122)).astype(np.uint8)


def test_without_variation_the_centre_comes_out_or_its_mirror() -> None:
    crops = window()
    centre = crops[:, 5:117, 5:117]
    outcomes = set()
    for seed in range(12):
        cut = augmented(crops, np.random.default_rng(seed), STILL)
        is_mirrored = not np.array_equal(cut, centre)
        assert np.array_equal(cut, centre[:, :, ::-1] if is_mirrored else centre)
        outcomes.add(is_mirrored)
    assert outcomes == {True, False}


def test_every_window_is_one_draw_and_keeps_its_form() -> None:
    still_mouth = np.repeat(window(1), 8, axis=0)
    config = CropAugmentation(blur_share=1, cover_share=1, slow_share=1)
    first = augmented(still_mouth, np.random.default_rng(1), config)
    assert first.shape == (8, CROP_PX, CROP_PX)
    assert first.dtype == np.uint8
    assert (first == first[:1]).all()  # a mouth that stands still goes on standing still
    assert np.array_equal(first, augmented(still_mouth, np.random.default_rng(1), config))
    assert not np.array_equal(first, augmented(still_mouth, np.random.default_rng(2), config))


def test_a_warped_mouth_has_other_proportions_and_the_same_movement() -> None:
    ramp = np.arange(122, dtype=np.uint8) + 100
    crops = np.stack(
        [np.broadcast_to(ramp, (122, 122)), np.broadcast_to(ramp[:, None], (122, 122))]
    )
    config = replace(STILL, warp_px=4.0)
    sizes = []
    for seed in range(20):
        plain, warped = (
            augmented(crops, np.random.default_rng(seed), c).astype(float) for c in (STILL, config)
        )
        moved_px = np.abs(warped - plain)[:, 16:-16, 16:-16]
        assert np.abs(np.diff(moved_px, axis=2)).max() <= 2  # smooth: nothing is torn
        sizes.append(moved_px.mean())
        again = augmented(np.repeat(crops[:1], 3, 0), np.random.default_rng(seed), config)
        assert (again == again[:1]).all()  # one warp for the window
    assert 0.3 < np.mean(sizes) < 3.0
    assert np.std(sizes) > 0.3  # some windows hardly, others strongly


def test_the_crops_given_are_left_alone() -> None:
    crops = window()
    kept = crops.copy()
    augmented(crops, np.random.default_rng(3), CropAugmentation(cover_share=1, slow_share=1))
    assert np.array_equal(crops, kept)


def test_fewer_pictures_a_second_never_show_the_future() -> None:
    numbers = np.arange(20, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    slow = slowed(numbers, 0.5)[:, 0, 0]
    assert np.array_equal(slow, np.arange(20) // 2 * 2)
    uneven = slowed(numbers, 0.7)[:, 0, 0]
    assert (uneven <= np.arange(20)).all()
    assert len(np.unique(uneven)) == 14
