"""A mouth that is seen for a moment only."""

import numpy as np
import pytest

from avse.glimpses import AROUND_FRAMES, LEAST_FRAMES, without_glimpses
from tests.avse.test_enhancer import FakeNet, enhancer, mouth_of, noise, prepared


def kept(n_frames: int, *hidden: slice) -> np.ndarray:
    mouth = mouth_of(n_frames)
    for span in hidden:
        mouth.is_visible[span] = False
    before = mouth.is_visible.copy()
    after = without_glimpses(mouth).is_visible
    np.testing.assert_array_equal(mouth.is_visible, before)
    assert not (after & ~before).any()
    return after


def test_fewer_pictures_than_half_a_second_are_not_looked_at() -> None:
    assert not kept(30, slice(LEAST_FRAMES - 1, None)).any()
    assert kept(30, slice(LEAST_FRAMES, None)).sum() == LEAST_FRAMES


def test_pictures_here_and_there_count_together() -> None:
    assert kept(40, slice(6, 34)).sum() == 12
    assert not kept(300, slice(6, 294)).any()


def test_a_glimpse_far_from_a_mouth_seen_for_long_is_one() -> None:
    seen = kept(300, slice(100, 200), slice(205, None))
    assert seen[:100].all()
    assert not seen[100:].any()
    near = 100 + AROUND_FRAMES - LEAST_FRAMES
    assert kept(300, slice(100, near), slice(near + 5, None))[near : near + 5].all()


@pytest.mark.parametrize("n_frames", [0, 1, 10])
def test_a_short_clip_seen_throughout_stays_seen(n_frames: int) -> None:
    assert kept(n_frames).all()
    assert not kept(n_frames, slice(0, 1)).any()


def test_a_glimpse_is_told_and_goes_by_sound_alone() -> None:
    clip = prepared(noise(32_000), {1: mouth_of(50, hidden=slice(8, 50))})
    report = enhancer(FakeNet(1.0)).enhance(clip).report
    assert (report.path, report.reason) == ("audio_only", "face_lost")
    assert report.audio_only_spans_s == ((0.0, 2.0),)
    told = "the mouth is seen for no more than a moment, 0.3 s: sound alone there"
    assert told in report.warnings
    whole = prepared(noise(32_000), {1: mouth_of(50)})
    assert enhancer(FakeNet(1.0)).enhance(whole).report.warnings == ()
