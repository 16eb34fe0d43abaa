"""The spectrum: exact inverse, scale, alignment, gradients."""

import pytest
import torch

from preprocessing.spectral import StftConfig, istft, level_gain, log_mel, stft, stft_span
from preprocessing.timeline import n_stft_frames


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.3


@pytest.mark.parametrize("n_samples", [1, 79, 160, 639, 640, 641, 16_000, 16_123])
def test_the_inverse_is_exact_everywhere(n_samples: int) -> None:
    sound = noise(2, 3, n_samples)
    spectrum = stft(sound)
    assert spectrum.shape == (2, 3, 4 * -(-n_samples // 640), 321)
    assert spectrum.dtype == torch.complex64
    torch.testing.assert_close(istft(spectrum, n_samples), sound, atol=1e-5, rtol=0)


def test_a_full_scale_sine_has_magnitude_one() -> None:
    time_s = torch.arange(16_000) / 16_000
    magnitude = stft(torch.sin(2 * torch.pi * 1000 * time_s)).abs()
    assert magnitude[10:-10, 40].sub(1).abs().max() < 1e-3
    assert int(magnitude[50].argmax()) == 40


@pytest.mark.parametrize("frame", [0, 1, 17, 99])
def test_frame_t_is_centred_on_its_hop(frame: int) -> None:
    sound = torch.zeros(16_000)
    sound[frame * 160 + 80] = 1.0
    energy = stft(sound).abs().sum(dim=-1)
    assert int(energy.argmax()) == frame


@pytest.mark.parametrize(("first", "last"), [(0, 4), (0, 52), (8, 24), (48, 52)])
def test_a_span_equals_that_part_of_the_whole(first: int, last: int) -> None:
    sound = noise(52 * 160 - 33)
    torch.testing.assert_close(stft_span(sound, first, last), stft(sound)[first:last])


@pytest.mark.parametrize(("first", "last"), [(0, 0), (2, 8), (0, 56), (-4, 4)])
def test_a_wrong_span_is_refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="aligned part"):
        stft_span(noise(52 * 160), first, last)


def test_log_mel_scale_and_filled_bands() -> None:
    silent = log_mel(torch.zeros(4, 321))
    torch.testing.assert_close(silent, torch.full((4, 80), -9.2103), atol=1e-3, rtol=0)
    assert (log_mel(torch.ones(1, 321)) > -5).all()


def test_log_mel_made_in_inference_mode_still_trains() -> None:
    with torch.inference_mode():
        log_mel(stft(noise(640)).abs(), StftConfig(n_mels=40))
    sound = noise(1280).requires_grad_()
    spectrum = stft(sound, StftConfig(n_mels=40))
    loss = log_mel(spectrum.abs(), StftConfig(n_mels=40)).sum()
    (loss + istft(spectrum, 1280).square().sum()).backward()
    assert sound.grad is not None
    assert torch.isfinite(sound.grad).all()
    assert sound.grad.abs().min() > 0


def test_level_gain_brings_to_the_level_and_leaves_silence() -> None:
    loud = noise(3, 16_000) * torch.tensor([[1.0], [0.1], [0.0]])
    levelled = loud * level_gain(loud, 0.05)
    torch.testing.assert_close(
        levelled.square().mean(-1).sqrt(), torch.tensor([0.05, 0.05, 0.0]), atol=1e-4, rtol=0
    )


def test_lengths_and_sizes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 4 frames"):
        istft(stft(noise(1000)), 600)
    with pytest.raises(ValueError, match="rate, window, hop"):
        StftConfig(hop_samples=80)
    assert n_stft_frames(641) == 8
