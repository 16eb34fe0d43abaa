"""Sound to spectrum and back, in torch: differentiable, batched, exactly invertible."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from preprocessing.timeline import (
    HOP_SAMPLES,
    SAMPLE_RATE_HZ,
    STFT_FRAMES_PER_VIDEO_FRAME,
    WINDOW_SAMPLES,
    exact_div,
    n_stft_frames,
)

RMS_FLOOR = 1e-4


@dataclass(frozen=True, slots=True)
class StftConfig:
    """How sound becomes pictures; it travels with the weights of a bundle.

    Attributes:
        sample_rate_hz: Rate of the sound.
        window_samples: Length of the Hann window, 40 ms.
        hop_samples: Step between frames, 10 ms.
        n_mels: Mel bands of the network's input.
        log_floor: Added to the mel magnitude before the logarithm.

    Raises:
        ValueError: The rate, window or hop differ from those of `preprocessing.timeline`.
    """

    sample_rate_hz: int = SAMPLE_RATE_HZ
    window_samples: int = WINDOW_SAMPLES
    hop_samples: int = HOP_SAMPLES
    n_mels: int = 80
    log_floor: float = 1e-4

    def __post_init__(self) -> None:
        """Check the contract: `timeline.py` owns the arithmetic, so other sizes cannot work."""
        found = (self.sample_rate_hz, self.window_samples, self.hop_samples)
        wanted = (SAMPLE_RATE_HZ, WINDOW_SAMPLES, HOP_SAMPLES)
        if found != wanted:
            raise ValueError(f"StftConfig: expected rate, window, hop {wanted}, found {found}")

    @property
    def n_bins(self) -> int:
        """Frequencies from 0 to half the rate: 321."""
        return self.window_samples // 2 + 1

    @property
    def bin_hz(self) -> float:
        """Width of a bin: 25 Hz."""
        return self.sample_rate_hz / self.window_samples

    @property
    def edge_samples(self) -> int:
        """Zeros before the first sample, so that frame t is centred on `(t + 0.5) * hop`."""
        return (self.window_samples - self.hop_samples) // 2


DEFAULT_STFT = StftConfig()


def stft(waveform: Tensor, config: StftConfig = DEFAULT_STFT) -> Tensor:
    """Spectrum of a sound, scaled so that a full-scale sine has magnitude 1.

    Args:
        waveform: `[.., L]` float32.
        config: Sizes.

    Returns:
        `[.., T, F]` complex64 with `T = 4 * ceil(L / 640)`; frame t is centred on sample
        `(t + 0.5) * hop`. Beyond both ends the sound is taken as zero.
    """
    n_samples = waveform.shape[-1]
    n_padded = n_stft_frames(n_samples) * config.hop_samples
    edge = config.edge_samples
    padded = functional.pad(waveform, (edge, n_padded - n_samples + edge))
    frames = padded.unfold(-1, config.window_samples, config.hop_samples)  # [.., T, window]
    window = _window(config, waveform.device)
    spectrum: Tensor = torch.fft.rfft(frames * (window * (2.0 / window.sum())))  # [.., T, F]
    return spectrum


def istft(spectrum: Tensor, n_samples: int, config: StftConfig = DEFAULT_STFT) -> Tensor:
    """Sound of a spectrum: the inverse of `stft` to rounding, at both ends too.

    Args:
        spectrum: `[.., T, F]` complex.
        n_samples: Length of the sound, L.
        config: Sizes.

    Returns:
        `[.., L]` float32.

    Raises:
        ValueError: T is not the number of frames that L samples have.
    """
    n_frames, wanted = spectrum.shape[-2], n_stft_frames(n_samples)
    if n_frames != wanted:
        raise ValueError(f"istft: expected {wanted} frames for {n_samples}, found {n_frames}")
    window = _window(config, spectrum.device)
    frames = torch.fft.irfft(spectrum * (window.sum() / 2.0), n=config.window_samples)
    summed = _overlap_add(frames * window, config.hop_samples)  # [.., L + 2 edge + padding]
    weights = _overlap_add(window.square().expand(n_frames, -1), config.hop_samples)
    kept = slice(config.edge_samples, config.edge_samples + n_samples)
    return summed[..., kept] / weights[kept]  # [.., L]


def stft_span(waveform: Tensor, first: int, last: int, config: StftConfig = DEFAULT_STFT) -> Tensor:
    """Frames `first` to `last` of `stft(waveform)` without computing the others.

    Args:
        waveform: `[.., L]` float32.
        first: First frame, a multiple of four.
        last: One past the last frame, a multiple of four and at most T.
        config: Sizes.

    Returns:
        `[.., last - first, F]` complex64, equal to `stft(waveform)[.., first:last, :]`.

    Raises:
        ValueError: The span is empty, unaligned or outside the sound.
    """
    margin = STFT_FRAMES_PER_VIDEO_FRAME
    n_frames = n_stft_frames(waveform.shape[-1])
    if first % margin or last % margin or not 0 <= first < last <= n_frames:
        raise ValueError(f"stft_span: {first}:{last} is not an aligned part of 0:{n_frames}")
    begin, end = max(0, first - margin), min(n_frames, last + margin)
    part = waveform[..., begin * config.hop_samples : end * config.hop_samples]
    return stft(part, config)[..., first - begin : last - begin, :]


def log_mel(magnitude: Tensor, config: StftConfig = DEFAULT_STFT) -> Tensor:
    """Logarithm of the mel bands: the network's input.

    Args:
        magnitude: `[.., T, F]`, linear, scaled as `stft` does.
        config: Sizes and floor.

    Returns:
        `[.., T, M]`, natural logarithm of triangle-weighted sums of magnitudes (peak weight 1):
        -9.2 for silence; speech at the bundles' level lies between about -8 and 1.
    """
    mel = magnitude @ _mel_matrix(config, magnitude.device)  # [.., T, M]
    return torch.log(mel + config.log_floor)


def level_gain(waveform: Tensor, target_rms: float) -> Tensor:
    """Factor that brings a sound to a standard level; the network hears only that level.

    Args:
        waveform: `[.., L]`.
        target_rms: Wanted root mean square, e.g. 0.05 (-26 dB).

    Returns:
        `[.., 1]`; sounds below -80 dB are taken as being there, so silence stays silence.
    """
    rms = waveform.square().mean(dim=-1, keepdim=True).sqrt()
    return target_rms / rms.clamp_min(RMS_FLOOR)


def _overlap_add(frames: Tensor, hop_samples: int) -> Tensor:
    """`[.., T, window]` to `[.., (T - 1) * hop + window]`."""
    n_parts = exact_div(frames.shape[-1], hop_samples)
    parts = rearrange(frames, "... t (part hop) -> ... part t hop", part=n_parts)
    shifted = [
        functional.pad(parts[..., index, :, :], (0, 0, index, n_parts - 1 - index))
        for index in range(n_parts)
    ]
    return rearrange(sum(shifted[1:], shifted[0]), "... block hop -> ... (block hop)")


@lru_cache(maxsize=8)
def _window(config: StftConfig, device: torch.device) -> Tensor:
    """Periodic Hann window; made outside inference mode so that training may save it."""
    with torch.inference_mode(mode=False):
        return torch.hann_window(config.window_samples, device=device)


@lru_cache(maxsize=8)
def _mel_matrix(config: StftConfig, device: torch.device) -> Tensor:
    """`[F, M]` triangles on the HTK mel scale."""
    with torch.inference_mode(mode=False):
        matrix: Tensor = melscale_fbanks(
            config.n_bins, 0.0, config.sample_rate_hz / 2, config.n_mels, config.sample_rate_hz
        )
        return matrix.to(device)
