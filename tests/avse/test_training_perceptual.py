"""The perceptual loss: nothing where sounds are alike, more where the ear would mind more."""

import math

import numpy as np
import pytest
import torch
from pesq import pesq

from avse.training.perceptual import perceptual_disturbance
from preprocessing.spectral import istft, stft


def tones(seed=0, seconds=1.0):
    """Five syllables of harmonics, `[1, L]`."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    pitch = rng.uniform(100, 220)
    voice = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 5 * t), 0, None)
    return torch.from_numpy((0.05 * voice * syllables).astype(np.float32))[None]


def disturbance(sound, clean):
    return perceptual_disturbance(sound, clean)


def noise(level):
    generator = torch.Generator().manual_seed(1)
    return level * torch.randn(1, 16_000, generator=generator)


def test_the_clean_sound_disturbs_nobody():
    clean = tones()
    assert disturbance(clean, clean).item() == pytest.approx(0.0, abs=2e-3)


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


def test_it_does_not_depend_on_the_level_or_the_timbre_of_either():
    clean, noisy = tones(), tones() + noise(0.01)
    assert disturbance(0.25 * noisy, clean).item() == pytest.approx(
        disturbance(noisy, clean).item(), rel=1e-3
    )
    bright = torch.fft.rfft(clean)
    bright *= torch.linspace(1, 2, bright.shape[1])
    dull = torch.fft.irfft(bright, clean.shape[1])
    assert disturbance(dull, clean).item() < 0.3 * disturbance(noisy, clean).item()


def test_it_goes_with_pesq_over_masks_of_all_kinds():
    clean = tones(2, seconds=2.0)
    generator = torch.Generator().manual_seed(3)
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=generator)
    mixture, wanted = stft(noisy), stft(clean).abs()
    ratio = (wanted / mixture.abs().clamp_min(1e-6)).clamp(0, 1)
    masks = [ratio, ratio**0.5, ratio.clamp_min(0.2), ratio.clamp_min(0.5), torch.ones_like(ratio)]
    told, heard = [], []
    for mask in [*masks, 0.5 + 0.5 * ratio, 0.8 + 0.2 * ratio]:
        sound = istft(mask * mixture, noisy.shape[1])
        told.append(disturbance(sound, clean).item())
        score = pesq(16_000, clean[0].numpy(), sound[0].numpy(), "wb")
        heard.append(4.5 + (math.log(4 / (score - 0.999) - 1) - 3.8224) / 1.3669)
    assert np.corrcoef(told, heard)[0, 1] > 0.95
    assert np.abs(np.subtract(told, heard)).mean() < 0.3


def test_silence_has_nothing_to_compare_with_and_gradients_stay_finite():
    clean = torch.cat([tones(), torch.zeros(1, 16_000)])
    mixture = stft(clean + noise(0.02))
    mask = torch.full(mixture.shape, 0.5, requires_grad=True)
    values = perceptual_disturbance(istft(mask * mixture, clean.shape[1]), clean)
    assert values[1] == 0
    values.sum().backward()
    assert torch.isfinite(mask.grad).all()
    assert mask.grad[0].abs().max() > 0
