"""Frozen pictures: found by what does not change, and their mouths taken as absent."""

import numpy as np
import pytest

from preprocessing.media_make import make_clip
from preprocessing.mouth import load_mouth_landmarks
from preprocessing.pipeline import Tools, prepare
from preprocessing.stillness import StillPictures, is_within
from preprocessing.types import Frame, Waveform
from tests.preprocessing.scripted_faces import ScriptedDetector, paint, scenery


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noisy_picture(rng, level=8):
    return rng.integers(100 - level, 100 + level, (48, 64, 3), np.uint8)


def spans_of(pictures):
    still = StillPictures()
    for index, image in enumerate(pictures):
        still.add(Frame(index, index / 25, image))
    return still.spans_s()


def test_a_repeated_picture_is_a_stretch_from_its_first_showing_to_the_next(rng):
    moving = [noisy_picture(rng) for _ in range(20)]
    frozen = [moving[-1]] * 25
    after = [noisy_picture(rng) for _ in range(10)]
    assert spans_of(moving + frozen + after) == (pytest.approx((19 / 25, 45 / 25)),)


def test_a_stretch_may_reach_to_the_end(rng):
    assert spans_of([noisy_picture(rng)] * 30) == (pytest.approx((0, 30 / 25)),)


def test_slow_films_and_moving_pictures_are_not_still(rng):
    slow = [picture for _ in range(10) for picture in [noisy_picture(rng)] * 5]
    assert spans_of(slow) == ()
    assert spans_of(noisy_picture(rng) for _ in range(30)) == ()


def test_coding_noise_does_not_end_a_stretch_but_a_moving_mouth_does(rng):
    picture = noisy_picture(rng)
    coded = [picture + rng.integers(0, 3, picture.shape, np.uint8) for _ in range(30)]
    assert len(spans_of(coded)) == 1
    mouths = []
    for index in range(30):
        talking = picture.copy()
        talking[30:36, 20:40] += np.uint8(20 * (index % 3))
        mouths.append(talking)
    assert spans_of(mouths) == ()


def test_a_change_of_size_and_an_empty_stream(rng):
    small, large = noisy_picture(rng), np.zeros((96, 128, 3), np.uint8)
    assert spans_of([small] * 5 + [large] * 5) == ()
    assert spans_of([]) == ()


def test_within_counts_the_start_and_not_the_end():
    times = np.array([0.9, 1.0, 1.5, 2.0, 2.1, 4.0])
    assert is_within(times, [(1.0, 2.0), (4.0, 5.0)]).tolist() == [0, 1, 1, 0, 0, 1]
    assert not is_within(times, []).any()


def test_a_face_in_a_frozen_picture_has_no_visible_mouth(tmp_path):
    images = []
    for index in range(50):
        place = min(index, 20)  # from the 21st picture on nothing moves
        images.append(paint(scenery(320, 240, 1), np.array((30, 60, 100, 150)) + place % 5))
    sound = Waveform(np.full(32_000, 0.1, np.float32), 16_000)
    make_clip(tmp_path / "frozen.mp4", images, 25, sound)
    tools = Tools(ScriptedDetector(), load_mouth_landmarks())
    prepared = prepare(tmp_path / "frozen.mp4", tools=tools)
    mouth = prepared.mouths[1]
    assert mouth.is_visible[:19].all()
    assert not mouth.is_visible[23:].any()
    assert not mouth.crops[23:].any()
    assert prepared.still_s == pytest.approx(29 / 25, abs=0.1)
