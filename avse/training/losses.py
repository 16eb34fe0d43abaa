"""What the enhancer is trained to make small."""

import torch
from torch import Tensor


def compressed_l1(enhanced: Tensor, clean: Tensor, exponent: float = 0.3) -> Tensor:
    """L1 between magnitudes `[B, T, F]` to a power: quiet parts count, as they do for the ear.

    Differs:
        The paper takes L1 on the plain magnitudes (`exponent=1`).
    """
    return (_compress(enhanced, exponent) - _compress(clean, exponent)).abs().mean()


def negative_si_sdr(enhanced: Tensor, clean: Tensor) -> Tensor:
    """Negative scale-invariant SDR of each sound `[B, L]`, in dB, clamped to -30..30.

    Reference:
        Le Roux et al., SDR - half-baked or well done?, ICASSP 2019, eq. 3.
    """
    enhanced = enhanced - enhanced.mean(1, keepdim=True)
    clean = clean - clean.mean(1, keepdim=True)
    energy = clean.square().sum(1, keepdim=True).clamp_min(1e-6)
    target = (enhanced * clean).sum(1, keepdim=True) / energy * clean
    ratio = target.square().sum(1) / (enhanced - target).square().sum(1).clamp_min(1e-8)
    return -(10 * torch.log10(ratio.clamp(1e-3, 1e3)))


def negative_snr(enhanced: Tensor, clean: Tensor) -> Tensor:
    """Negative ratio of a sound `[B, L]` to what the enhanced one differs by, in dB, in -30..30.

    Unlike `negative_si_sdr` it minds the level: under that loss networks gave clean speech back
    2.4 dB too quiet. It is 0 where the clean sound is silent: a network that is paid for every dB
    of a silence that nobody hears any more takes people for silent who are not.
    """
    energy = clean.square().sum(1)
    ratio = energy.clamp_min(1e-6) / (enhanced - clean).square().sum(1).clamp_min(1e-8)
    return torch.where(energy > 1e-6, -(10 * torch.log10(ratio.clamp(1e-3, 1e3))), 0.0)


def _compress(magnitude: Tensor, exponent: float) -> Tensor:
    return (magnitude + 1e-4) ** exponent
