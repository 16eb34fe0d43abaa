"""Sight near a visible mouth, sound alone far from one, and a smooth way between."""

from dataclasses import replace

import numpy as np
import pytest

from avse.blending import FADE_FRAMES, KEPT_FRAMES, blended, needs_sound_alone, seen_share
from avse.inference import Cleaned
from tests.avse.test_enhancer import FakeNet, bundle, enhancer, mouth_of, noise, prepared

N_FRAMES = 100
REACH = KEPT_FRAMES + FADE_FRAMES


def cleaned(value: float, n_frames: int = N_FRAMES) -> Cleaned:
    samples = np.full(n_frames * 640 - 100, value, np.float32)
    mask = np.full((321, n_frames * 4), value, np.float16)
    frames = np.full(n_frames * 4, value, np.float32)
    return Cleaned(samples, mask, frames, frames.copy())


def test_the_share_of_sight_falls_with_the_distance_to_a_visible_picture() -> None:
    share = seen_share(mouth_of(N_FRAMES, hidden=slice(40, 100)))
    assert (share[: 40 + KEPT_FRAMES] == 1).all()
    assert (np.diff(share[39 + KEPT_FRAMES : 41 + REACH]) <= 0).all()
    assert (share[39 + REACH :] == 0).all()
    assert not seen_share(mouth_of(5, hidden=slice(0, 5))).any()


def test_a_short_absence_needs_no_second_network() -> None:
    assert not needs_sound_alone(mouth_of(N_FRAMES))
    assert not needs_sound_alone(mouth_of(N_FRAMES, hidden=slice(40, 40 + 2 * KEPT_FRAMES)))
    assert needs_sound_alone(mouth_of(N_FRAMES, hidden=slice(40, 42 + 2 * KEPT_FRAMES)))
    assert needs_sound_alone(None)


@pytest.mark.parametrize("n_frames", [N_FRAMES, 2500])
def test_sound_mask_and_top_gain_are_blended_alike(n_frames: int) -> None:
    mouth = mouth_of(n_frames, hidden=slice(40, n_frames))
    both = blended(cleaned(1.0, n_frames), cleaned(0.0, n_frames), mouth)
    share = seen_share(mouth)
    assert both.mask is not None
    for parts, n_each in ((both.samples, 640), (both.top_gain, 4), (both.mask[0], 4)):
        middles = parts[n_each // 2 :: n_each][: n_frames - 1].astype(np.float32)
        np.testing.assert_allclose(middles, share[: len(middles)], atol=0.06)
    assert np.abs(np.diff(both.samples)).max() < 1 / FADE_FRAMES / 600


def test_a_mouth_hidden_for_long_is_given_to_the_network_that_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = bundle(FakeNet(0.0, sees=False))
    other = replace(other, spec=replace(other.spec, name="deaf"))
    monkeypatch.setattr("avse.enhancer.load_bundle", lambda name: {"deaf": other}[name])
    settings = replace(bundle(FakeNet()).settings, audio_only_bundle="deaf")
    mouth = mouth_of(100, hidden=slice(50, 100))
    result = enhancer(FakeNet(1.0), settings=settings).enhance(prepared(noise(64_000), {1: mouth}))
    report = result.report
    assert (report.path, report.reason) == ("mixed", "face_lost")
    assert (report.bundle[:4], str(report.audio_only_bundle)[:4]) == ("fake", "deaf")
    assert np.abs(result.waveform.samples[: 50 * 640]).max() > 0.1
    assert not result.waveform.samples[(50 + REACH) * 640 :].any()
    seen = enhancer(FakeNet(1.0), settings=settings).enhance(
        prepared(noise(64_000), {1: mouth_of(100)})
    )
    assert seen.report.audio_only_bundle is None
