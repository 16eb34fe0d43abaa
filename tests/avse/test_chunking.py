"""Windows: a mask that says "keep" returns the input, in any length and any cut."""

import numpy as np
import pytest
import torch

from avse.chunking import CrossFade, Resynthesis, WindowPlan
from preprocessing.spectral import StftConfig, istft, stft
from preprocessing.timeline import n_stft_frames

LENGTHS = [1, 640, 641, 16 * 640, 17 * 640 - 5, 20 * 640, 23 * 640 + 1, 61 * 640 + 77]


def sound(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, n_samples).astype(np.float32)


def run(samples: np.ndarray, mask: torch.Tensor, window: int, hop: int) -> np.ndarray:
    plan = WindowPlan(n_stft_frames(samples.shape[0]), window, hop)
    fade, resynthesis = CrossFade(plan), Resynthesis(samples, StftConfig())
    parts = [
        resynthesis.add(fade.add(mask[start : start + plan.length_frames])) for start in plan.starts
    ]
    return torch.cat(parts).numpy()


@pytest.mark.parametrize("n_samples", LENGTHS)
@pytest.mark.parametrize(("window", "hop"), [(64, 48), (64, 64), (64, 4), (16, 12)])
def test_identity_returns_the_input(n_samples: int, window: int, hop: int) -> None:
    samples = sound(n_samples)
    out = run(samples, torch.ones(n_stft_frames(n_samples), 321), window, hop)
    np.testing.assert_allclose(out, samples, atol=2e-6)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_spans_equal_one_pass_over_the_whole(n_samples: int) -> None:
    samples = sound(n_samples)
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(n_stft_frames(n_samples), 321, generator=generator)
    whole = istft(stft(torch.tensor(samples)) * mask, n_samples).numpy()
    np.testing.assert_allclose(run(samples, mask, 64, 48), whole, atol=2e-6)


def test_a_complex_mask_is_applied_as_one_pass_would() -> None:
    samples = sound(23 * 640 + 1)
    generator = torch.Generator().manual_seed(1)
    shape = (n_stft_frames(samples.shape[0]), 321)
    mask = torch.complex(*(torch.rand(shape, generator=generator) for _ in range(2)))
    whole = istft(stft(torch.tensor(samples)) * mask, samples.shape[0]).numpy()
    np.testing.assert_allclose(run(samples, mask, 64, 48), whole, atol=2e-6)


@pytest.mark.parametrize(
    ("n_frames", "window", "hop"), [(400, 100, 60), (404, 100, 100), (8, 16, 8)]
)
def test_windows_cover_every_frame(n_frames: int, window: int, hop: int) -> None:
    plan = WindowPlan(n_frames, window, hop)
    covered = np.zeros(n_frames, int)
    for start in plan.starts:
        covered[start : start + plan.length_frames] += 1
    assert covered.min() >= 1
    assert plan.starts[-1] + plan.length_frames == n_frames
    assert all(start % 4 == 0 for start in plan.starts)


def test_the_cross_fade_is_smooth_and_ends_where_it_should() -> None:
    plan = WindowPlan(100, 60, 40)
    fade = CrossFade(plan)
    joined = torch.cat([fade.add(torch.full((60, 1), value)) for value in (0.0, 1.0)])[:, 0]
    assert joined.shape == (100,)
    assert (joined[:40] == 0).all()
    assert (joined[60:] == 1).all()
    assert joined.diff().abs().max() < 0.08


def test_no_sound_has_no_windows() -> None:
    assert WindowPlan(0, 64, 48).starts == ()


@pytest.mark.parametrize(("window", "hop"), [(64, 65), (64, 0), (62, 32), (64, 68)])
def test_windows_with_holes_are_refused(window: int, hop: int) -> None:
    with pytest.raises(ValueError, match="WindowPlan"):
        WindowPlan(100, window, hop)
