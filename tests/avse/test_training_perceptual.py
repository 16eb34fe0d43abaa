"""The perceptual loss: nothing where sounds are alike, more where the ear would mind more."""

import numpy as np
import pytest
import torch

from avse.training.perceptual import perceptual_disturbance
from preprocessing.spectral import DEFAULT_STFT, stft

BIN_HZ = DEFAULT_STFT.bin_hz


def tones(seed=0, seconds=1.0):
    """Five syllables of harmonics, `[1, L]`."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    pitch = rng.uniform(100, 220)
    voice = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 5 * t), 0, None)
    return torch.from_numpy((0.05 * voice * syllables).astype(np.float32))[None]


def disturbance(sound, clean):
    return perceptual_disturbance(stft(sound).abs(), stft(clean).abs(), BIN_HZ)


def noise(level):
    generator = torch.Generator().manual_seed(1)
    return level * torch.randn(1, 16_000, generator=generator)


def test_the_clean_sound_disturbs_nobody():
    clean = tones()
    assert disturbance(clean, clean).item() == pytest.approx(0.0, abs=1e-4)


def test_more_noise_disturbs_more_and_what_is_added_more_than_what_is_missing():
    clean = tones()
    noisy = [disturbance(clean + noise(level), clean).item() for level in (0.001, 0.01, 0.05)]
    assert noisy[0] < noisy[1] < noisy[2]
    other = tones(1)
    mixture = clean + other
    assert disturbance(mixture, clean).item() > disturbance(clean, mixture).item()


def test_it_does_not_depend_on_the_level_of_both():
    clean, noisy = tones(), tones() + noise(0.01)
    loud = disturbance(4 * noisy, 4 * clean).item()
    assert loud == pytest.approx(disturbance(noisy, clean).item(), rel=1e-4)


def test_silence_has_nothing_to_compare_with_and_gradients_stay_finite():
    clean = torch.cat([tones(), torch.zeros(1, 16_000)])
    mixture = stft(clean + noise(0.02)).abs()
    mask = torch.full_like(mixture, 0.5, requires_grad=True)
    values = perceptual_disturbance(mask * mixture, stft(clean).abs(), BIN_HZ)
    assert values[1] == 0
    values.sum().backward()
    assert torch.isfinite(mask.grad).all()
    assert mask.grad[0].abs().max() > 0
    assert not mask.grad[1].any()
