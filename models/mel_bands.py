"""From STFT bins to mel bands, and back by interpolation."""

import math

import torch
from torch import Tensor


def mel_centres_hz(n_mels: int, sample_rate_hz: int) -> Tensor:
    """Centre frequencies of the HTK mel bands between 0 and half the rate, `[M]` in Hz."""
    return _mel_points_hz(n_mels, sample_rate_hz)[1:-1]


def _mel_points_hz(n_mels: int, sample_rate_hz: int) -> Tensor:
    """The centres with 0 before and half the rate behind them, `[M + 2]`."""
    top = 2595 * math.log10(1 + sample_rate_hz / 2 / 700)
    mel = torch.linspace(0, top, n_mels + 2)
    return 700 * (10 ** (mel / 2595) - 1)


def bins_to_mel(n_mels: int, n_bins: int, sample_rate_hz: int) -> Tensor:
    """Triangles `[F, M]` of height 1 that sum magnitudes to bands, as `log_mel` has them."""
    points = _mel_points_hz(n_mels, sample_rate_hz)
    bins = torch.linspace(0, sample_rate_hz / 2, n_bins)[:, None]
    up = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    down = (points[2:] - bins) / (points[2:] - points[1:-1])
    return torch.minimum(up, down).clamp_min(0)


def mel_to_bins(n_mels: int, n_bins: int, sample_rate_hz: int) -> Tensor:
    """Weights `[M, F]` that interpolate band values linearly at each bin; columns sum to 1."""
    centres = mel_centres_hz(n_mels, sample_rate_hz)
    bins = torch.linspace(0, sample_rate_hz / 2, n_bins)
    bins = bins.clamp(float(centres[0]), float(centres[-1]))
    right = torch.searchsorted(centres, bins).clamp(1, n_mels - 1)
    share = (bins - centres[right - 1]) / (centres[right] - centres[right - 1])
    weights = torch.zeros(n_mels, n_bins)
    columns = torch.arange(n_bins)
    weights[right - 1, columns] = 1 - share
    weights[right, columns] += share
    return weights
