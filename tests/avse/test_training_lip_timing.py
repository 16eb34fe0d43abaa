"""Lips put in time with their sound, on features made from sounds."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from avse.training import lip_timing
from avse.training.cache import CachedClip
from avse.training.features import LipFeatures, features_between
from avse.training.lip_predictor import LipGuess
from avse.training.lip_timing import agreement, best_lag, in_time, lip_delays, lips_in_time, moved
from avse.training.manifest import ClipEntry
from preprocessing.types import no_progress

N_FRAMES, N_FEATURES = 60, 24
DELAYS = (0.0, 2.0, -1.5, 1.25)


class Guess:
    """Knows the lips of every sound: its first sample says which."""

    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float16]:
        loudest = int(np.abs(samples).argmax())
        return true_lips(loudest).astype(np.float16)


def true_lips(index: int) -> NDArray[np.float32]:
    steps = np.random.default_rng(index).standard_normal((N_FRAMES + 4, N_FEATURES), np.float32)
    return np.stack([steps[i : i + 5].mean(0) for i in range(N_FRAMES)])


def made() -> tuple[list[CachedClip], LipFeatures]:
    clips, values = [], []
    for index, delay in enumerate(DELAYS):
        samples = np.full(N_FRAMES * 640, 0.01, np.float32)
        samples[index] = 0.5
        entry = ClipEntry(f"{index}.mp4", f"p{index}", "train", "made")
        crops = np.zeros((N_FRAMES, 2, 2), np.uint8)
        clips.append(CachedClip(entry, crops, np.ones(N_FRAMES, np.bool_), samples))
        places = np.clip(np.arange(N_FRAMES) - delay, 0, N_FRAMES - 1)
        values.append(features_between(true_lips(index), places))
    both = np.stack([np.concatenate(values)] * 2).astype(np.float16)
    bounds = np.arange(len(DELAYS) + 1) * N_FRAMES
    return clips, LipFeatures(both, bounds, np.ones(len(both[0]), np.bool_), (N_FEATURES,))


def test_delays_are_found_to_part_of_a_frame_and_mended() -> None:
    clips, lips = made()
    delays = lip_delays(clips, lips, cast("LipGuess", Guess()))
    np.testing.assert_allclose(delays, DELAYS, atol=0.2)
    mended = moved(lips, np.asarray(DELAYS, np.float32))
    assert mended.of(0).tolist() == lips.of(0).tolist()
    for index in range(len(DELAYS)):
        inside = slice(4, -4)
        found = mended.of(index, 1)[inside].astype(np.float32)
        error = np.abs(found - true_lips(index)[inside]).mean()
        assert error < 0.4 * np.abs(true_lips(index)).mean()


@pytest.mark.parametrize("delay", DELAYS)
def test_a_clip_in_time_has_each_picture_beside_its_sound(delay: float) -> None:
    entry = ClipEntry("a.mp4", "p", "train", "made")
    crops = np.arange(N_FRAMES, dtype=np.uint8)[:, None, None]
    samples = np.arange(N_FRAMES * 640, dtype=np.float32)
    mended = in_time(CachedClip(entry, crops, np.ones(N_FRAMES, np.bool_), samples), delay)
    assert len(mended.crops) == len(mended.is_visible) >= N_FRAMES - 2
    sound_s, picture_s = mended.samples[0] / 640, float(mended.crops[0, 0, 0])
    assert picture_s - sound_s == pytest.approx(delay, abs=1e-3)


def test_lips_that_agree_with_nothing_stay() -> None:
    clips, lips = made()
    noise = np.random.default_rng(9).standard_normal(lips.values.shape).astype(np.float16)
    strange = LipFeatures(noise, lips.bounds, lips.is_visible, lips.widths)
    assert not lip_delays(clips, strange, cast("LipGuess", Guess())).any()


def test_short_overlaps_say_nothing() -> None:
    short = np.random.default_rng(0).standard_normal((9, N_FEATURES)).astype(np.float32)
    curve = agreement(short, short)
    assert np.flatnonzero(curve).tolist() == [3, 4, 5]
    assert best_lag(curve) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.02))


def test_the_delays_are_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, lips = made()
    trained: list[LipFeatures] = []

    def train(clips: list[CachedClip], lips: LipFeatures, **_: object) -> Guess:
        trained.append(lips)
        return Guess()

    monkeypatch.setattr(lip_timing, "train_lip_predictor", train)
    kept = tmp_path / "lip_delays.npy"
    assert lips_in_time(kept, clips, lips, 0, 5, no_progress) is lips
    first = lips_in_time(kept, clips, lips, 2, 5, no_progress)
    assert len(trained) == 2
    assert np.array_equal(trained[1].values, first.values)
    again = lips_in_time(kept, clips, lips, 2, 5, no_progress)
    assert len(trained) == 2
    assert np.array_equal(again.values, first.values)
    assert [path.name for path in tmp_path.iterdir()] == ["lip_delays.npy"]
