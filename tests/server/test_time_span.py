"""Parts of clips: cut to the sample, in step with the pictures."""

import numpy as np
import pytest

from preprocessing.errors import TooShort
from preprocessing.types import Waveform
from server.time_span import TimeSpan, cut_prepared, cut_sound, drop_lead, span_of
from tests.server.worker_parts import prepared


def test_options_name_the_span() -> None:
    assert span_of({}).is_whole
    assert span_of({"start": 0, "end": None}).is_whole
    assert span_of({"start": 1, "end": 2.5}) == TimeSpan(1.0, 2.5)


def test_a_whole_clip_is_left_alone() -> None:
    clip = prepared()
    assert cut_prepared(clip, TimeSpan()) == (clip, 0)


def test_the_part_begins_at_a_picture_and_says_how_much_is_before() -> None:
    clip = prepared(start_s=0.5)
    part, lead = cut_prepared(clip, TimeSpan(0.5 + 0.1, 0.5 + 0.25))
    assert lead == 1600 - 2 * 640
    assert part.audio.start_s == pytest.approx(0.5 + 0.08)
    np.testing.assert_array_equal(part.audio.samples, clip.audio.samples[1280:4000])
    assert part.mouths[2].crops.shape[0] == 5
    np.testing.assert_array_equal(part.mouths[2].crops, clip.mouths[2].crops[2:7])
    assert part.mouths[2].start_s == pytest.approx(part.audio.start_s)
    assert part.tracks[0].frame_indices[0] == 2


def test_a_start_before_the_sound_is_its_start() -> None:
    part, lead = cut_prepared(prepared(start_s=0.5), TimeSpan(0.1, 0.6))
    assert (lead, part.audio.start_s, part.audio.n_samples) == (0, 0.5, 1600)


def test_faces_elsewhere_are_left_out() -> None:
    clip = prepared(20)
    clip.tracks[0].times_s[:] = 0.5
    part, _ = cut_prepared(clip, TimeSpan(1.0, None))
    assert part.tracks == ()
    assert part.mouths == {}


def test_nothing_left_is_too_short() -> None:
    with pytest.raises(TooShort, match="between start and end"):
        cut_prepared(prepared(), TimeSpan(100.0, 200.0))


def test_sounds_are_cut_by_their_clock() -> None:
    sound = Waveform(np.arange(480, dtype=np.float32), 48_000, 1.0)
    part = cut_sound(sound, 1.001, 0.002)
    assert part.samples[0] == 48
    assert (part.n_samples, part.start_s) == (96, pytest.approx(1.001))
    assert drop_lead(sound, 16).samples[0] == 48
