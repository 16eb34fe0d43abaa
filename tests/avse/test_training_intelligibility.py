"""The loss that understands: STOI of clean and enhanced sounds, to be learned from."""

import numpy as np
import pytest
import torch
from pystoi import stoi as reference

from avse.training.intelligibility import lost_intelligibility
from preprocessing.spectral import istft, stft


def voice(seed=0, seconds=3.0):
    """Harmonics with formants that wander and syllables that come and go, `[1, L]`."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(16_000 * seconds)) / 16_000
    pitch = rng.uniform(100, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    formant = 1200 + 900 * np.sin(2 * np.pi * rng.uniform(1, 3) * t + rng.uniform(0, 6))
    parts = [
        np.sin(k * phase) * (0.1 + np.exp(-(((k * pitch - formant) / 400) ** 2)))
        for k in range(1, 25)
    ]
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(3, 5) * t), 0.01, None)
    return torch.from_numpy((0.02 * sum(parts) * syllables).astype(np.float32))[None]


def noise(level, seconds=3.0):
    generator = torch.Generator().manual_seed(1)
    return level * torch.randn(1, int(16_000 * seconds), generator=generator)


def test_what_is_alike_loses_nothing_at_any_level():
    clean = voice()
    assert lost_intelligibility(clean, clean).item() == pytest.approx(0.0, abs=1e-4)
    assert lost_intelligibility(0.2 * clean, clean).item() == pytest.approx(0.0, abs=1e-3)


def test_it_is_what_the_metric_says():
    told, measured = [], []
    for seed in range(4):
        clean = voice(seed)
        for spoiled in (clean + noise(0.003), clean + noise(0.03), clean + 0.7 * voice(seed + 9)):
            told.append(1 - lost_intelligibility(spoiled, clean).item())
            measured.append(reference(clean[0].numpy(), spoiled[0].numpy(), 16_000))
    assert np.ptp(measured) > 0.2
    assert np.corrcoef(told, measured)[0, 1] > 0.99
    assert np.abs(np.subtract(told, measured)).max() < 0.02


def test_silence_at_the_edges_does_not_count():
    clean = voice()
    spoiled = clean + noise(0.02)
    silence = torch.zeros(1, 16_000)
    padded = torch.cat([silence, clean, silence], 1)
    other = torch.cat([silence + noise(0.1, 1.0), spoiled, silence + noise(0.1, 1.0)], 1)
    lost = lost_intelligibility(other, padded).item()
    assert lost == pytest.approx(lost_intelligibility(spoiled, clean).item(), abs=0.02)


def test_too_little_clean_sound_says_nothing_and_gradients_stay_finite():
    clean = torch.cat([voice(), torch.zeros(1, 48_000)])
    mixture = stft(clean + noise(0.02))
    mask = torch.full(mixture.shape, 0.5)
    mask[:, :, 100:] = 0
    mask.requires_grad_()
    lost = lost_intelligibility(istft(mask * mixture, clean.shape[1]), clean)
    assert lost[0] > 0.01
    assert lost[1] == 0
    lost.sum().backward()
    assert torch.isfinite(mask.grad).all()
    assert mask.grad[0].abs().max() > 0
    assert mask.grad[1].abs().max() == 0
    assert lost_intelligibility(clean[:1, :5000], clean[:1, :5000]).item() == 0


def test_a_mask_that_learns_it_becomes_more_intelligible():
    clean = voice(2)
    mixture = stft(clean + 0.8 * voice(7))
    logits = torch.zeros(mixture.shape, requires_grad=True)
    optimiser = torch.optim.Adam([logits], 0.2)
    found = []
    for _ in range(8):
        sound = istft(torch.sigmoid(logits) * mixture, clean.shape[1])
        found.append(reference(clean[0].numpy(), sound[0].detach().numpy(), 16_000))
        optimiser.zero_grad()
        lost_intelligibility(sound, clean).sum().backward()
        optimiser.step()
    assert 1 - found[-1] < 0.5 * (1 - found[0])
