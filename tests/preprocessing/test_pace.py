"""Sound and lips as if played slower."""

import pytest
import torch

from preprocessing.pace import Pace
from preprocessing.spectral import stft


def noise(n_samples: int) -> torch.Tensor:
    return torch.randn(n_samples, generator=torch.Generator().manual_seed(0)) * 0.3


@pytest.mark.parametrize("lead", [0, 333, 1280])
def test_the_usual_hop_changes_nothing(lead: int) -> None:
    sound = noise(52 * 160 - 33)
    beside = torch.cat([torch.zeros(lead), sound, torch.zeros(700)])
    pace, magnitude = Pace(), stft(sound).abs()
    torch.testing.assert_close(pace.magnitude(beside, 52, lead), magnitude)
    torch.testing.assert_close(pace.on_clock(magnitude, 52), magnitude)
    lips, is_visible = torch.randn(2, 13, 5), torch.rand(2, 13) > 0.3
    (same,), seen = pace.sight([lips], is_visible)
    torch.testing.assert_close(same, lips)
    assert seen.equal(is_visible)


@pytest.mark.parametrize(("first", "last"), [(0, 4), (8, 24), (48, 52)])
def test_a_part_with_what_surrounds_it_equals_that_part_of_the_whole(first: int, last: int) -> None:
    sound = noise(52 * 160 - 33)
    part = Pace().magnitude(sound, last - first, first * 160)
    torch.testing.assert_close(part, stft(sound).abs()[first:last])


@pytest.mark.parametrize("hop", [128, 144, 160])
def test_a_tone_comes_lower_and_goes_back(hop: int) -> None:
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16_000) / 16_000)
    pace = Pace(hop)
    heard = pace.magnitude(tone, 100)
    middle = heard[heard.shape[0] // 2]
    assert int(middle.argmax()) == round(40 * hop / 160)
    assert heard[..., 2 * hop + 1 :].count_nonzero() == 0
    assert int(pace.on_clock(heard, 100)[50].argmax()) == 40


@pytest.mark.parametrize("hop", [112, 128, 144])
def test_a_click_comes_back_when_it_was(hop: int) -> None:
    sound = torch.zeros(16_000)
    sound[60 * 160 + 80] = 1.0
    pace = Pace(hop)
    energy = pace.on_clock(pace.magnitude(sound, 100), 100).sum(-1)
    centre = (energy * torch.arange(100)).sum() / energy.sum()
    assert abs(float(centre) - 60) < 0.2


@pytest.mark.parametrize("n_frames", [4, 116, 352])
def test_four_frames_to_a_picture_cover_the_sound(n_frames: int) -> None:
    for hop in (120, 128, 136, 144, 152, 160):
        n_slow = Pace(hop).n_frames(n_frames)
        assert n_slow % 4 == 0
        assert 0 <= n_slow * hop - n_frames * 160 < 4 * hop


def test_lips_keep_their_time() -> None:
    times = torch.arange(25.0)[None, :, None]
    (slow,), seen = Pace(128).sight([times], torch.ones(1, 25, dtype=torch.bool))
    assert seen.all()
    wanted = (torch.arange(slow.shape[1]) + 0.5) * 0.8 - 0.5
    torch.testing.assert_close(slow[0, :, 0], wanted.clamp(0, 24))


def test_a_hidden_picture_is_never_mixed_in() -> None:
    lips = torch.where(torch.arange(25) % 3 == 0, 9.0, 1.0)[None, :, None]
    (slow,), seen = Pace(136).sight([lips], lips[..., 0] == 1)
    assert set(slow[seen].flatten().tolist()) == {1.0}
    assert set(slow[~seen].flatten().tolist()) == {9.0}


@pytest.mark.parametrize("hop", [0, -2, 143, 162])
def test_other_hops_are_refused(hop: int) -> None:
    with pytest.raises(ValueError, match="hop: expected an even number up to 160"):
        Pace(hop)
