"""A loss that hears: what P.862 (PESQ) counts, made differentiable."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from preprocessing.timeline import SAMPLE_RATE_HZ

WINDOW_SAMPLES, HOP_SAMPLES = 512, 256
BIN_HZ = SAMPLE_RATE_HZ / WINDOW_SAMPLES
SPEECH_HZ = (325.0, 3250.0)
"""Where the level of a sound is measured."""
LISTENING_POWER = 3.4e6
"""Power in that range, in the standard's units, that stands for 79 dB SPL."""
N_BARKS = 49
NARROWEST_BARK, WIDENING = 0.318, 0.0127
"""A band at `b` Bark is `NARROWEST_BARK + WIDENING b` wide."""
ZWICKER_POWER, LOUDNESS_SCALE = 0.23, 0.1866
SYMMETRIC_SHARE, ASYMMETRIC_SHARE = 0.1, 0.0309
MOST = 45.0
SPEECH_FRAME = 1e7
"""Audible power of the frames whose timbre is compared."""
N_POOLED, POOLED_HOP, POOLING_POWER = 20, 10, 6


@dataclass(frozen=True, slots=True)
class CriticalBands:
    """What the ear does to a spectrum of `F` bins, in `K` bands.

    Attributes:
        sums: `[F, K]`, powers of bins to densities of bands, behind the standard's high pass.
        widths: `[K]`, in Bark.
        threshold: `[K]`, the least power that is heard.
        exponent: `[K]`, of loudness over power.
        speech: `[F]`, 1 where the level is measured.
        window: `[WINDOW_SAMPLES]`, Hann.
    """

    sums: Tensor
    widths: Tensor
    threshold: Tensor
    exponent: Tensor
    speech: Tensor
    window: Tensor

    @classmethod
    def on(cls, device: torch.device) -> Self:
        """Traunmueller's Bark, bands that widen as P.862's, and a curve through its thresholds."""
        hz = torch.arange(WINDOW_SAMPLES // 2 + 1) * BIN_HZ
        edges = _bark_edges(float(_to_bark(hz[-1])))
        index = torch.bucketize(_to_bark(hz), edges, right=True) - 1
        used = torch.unique(index[1:])  # the constant is not heard; every band holds a bin
        members = (index[:, None] == used).float()
        members[0] = 0
        centre_hz = (members * hz[:, None]).sum(0) / members.sum(0)
        centre = _to_bark(centre_hz)
        widths_hz = torch.diff(_to_hz(edges))[used]
        density = 100 * NARROWEST_BARK / (NARROWEST_BARK + WIDENING * centre)
        share = widths_hz / (members.sum(0) * BIN_HZ)
        khz = centre_hz / 1000
        threshold_db = 72 * torch.exp(-khz / 0.2) - 3 - 3.5 * torch.exp(-khz / 2)
        parts = (
            members * share * density * _high_pass(hz)[:, None],
            torch.diff(edges)[used],
            10 ** (threshold_db / 10),
            ZWICKER_POWER * (6 / (centre + 2)).clamp(1, 2).pow(0.15),
            ((hz >= SPEECH_HZ[0]) & (hz <= SPEECH_HZ[1])).float(),
            torch.hann_window(WINDOW_SAMPLES),
        )
        return cls(*(part.to(device) for part in parts))


def perceptual_disturbance(enhanced: Tensor, clean: Tensor) -> Tensor:
    """How far a sound is from the clean one for the ear: `4.5 - PESQ`, before its last curve.

    Both sounds are set to a listening level, and their powers summed to critical bands. The clean
    one takes on the other's timbre, the other one the clean one's level from frame to frame, for
    the ear minds neither. Powers `P` become loudness, `S (P0 / .5)^z ((.5 + .5 P / P0)^z - 1)` over
    the hearing threshold `P0`. What two loudnesses differ by, less a quarter of the smaller one,
    which masks it, is the disturbance `D`; what was added to the sound counts once more, by
    `((P_e + 50) / (P_c + 50))^1.2` where that is at least 3 (at most 12). Of a third of a second
    the worst frames count most (their norm of order 6).

    On 18 mixtures of VoiceBank+DEMAND whose masks were varied in nine ways it goes with PESQ-WB
    before the curve at .98, and at .93 where only a mask's sharpness differs.

    Reference:
        ITU-T P.862 and P.862.2; as a loss: Martin-Donas et al., IEEE SPL 25(11), 2018.

    Differs:
        Bands and thresholds by formula, the level read from the spectrum, and no alignment in time.

    Args:
        enhanced: `[B, L]`, at 16 kHz, at least 512 samples.
        clean: Of the clean sound, likewise.

    Returns:
        `[B]`, 0 where the sounds are alike; 0 too where there is nothing clean to compare with.
    """
    bands = _bands(clean.device)
    power_e, power_c = (_band_powers(sound, bands) for sound in (enhanced, clean))  # [B, T, K]
    power_c = power_c * _timbre(power_e, power_c, bands)
    power_e = power_e * _frame_gain(power_e, power_c, bands)
    symmetric, asymmetric = _frame_disturbances(power_e, power_c, bands)
    weight = ((_audible(power_c, bands) + 1e5) / 1e7).pow(0.04)
    heard = SYMMETRIC_SHARE * _pooled((symmetric / weight).clamp(max=MOST))
    heard = heard + ASYMMETRIC_SHARE * _pooled((asymmetric / weight).clamp(max=MOST))
    return torch.where(clean.square().mean(1) > 1e-8, heard, 0.0)


def _band_powers(sound: Tensor, bands: CriticalBands) -> Tensor:
    """`[B, T, K]` of a sound `[B, L]` at the listening level."""
    missing = -(sound.shape[1] - WINDOW_SAMPLES) % HOP_SAMPLES
    frames = F.pad(sound, (0, missing)).unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)
    power = torch.fft.rfft(frames * bands.window).abs().square()  # [B, T, F]
    level = (power * bands.speech).sum(2).mean(1).clamp_min(1e-9)
    powers: Tensor = power * (LISTENING_POWER / level)[:, None, None] @ bands.sums
    return powers


def _timbre(power_e: Tensor, power_c: Tensor, bands: CriticalBands) -> Tensor:
    """`[B, 1, K]`: how much more of a band the enhanced sound has on the whole."""
    is_speech = _audible(power_c, bands, 100.0) >= SPEECH_FRAME  # [B, T]

    def mean(power: Tensor) -> Tensor:
        counts = is_speech[..., None] & (power > 100 * bands.threshold)
        return torch.where(counts, power, 0.0).mean(1, keepdim=True)

    return ((mean(power_e) + 1e3) / (mean(power_c) + 1e3)).clamp(0.01, 100)


def _frame_gain(power_e: Tensor, power_c: Tensor, bands: CriticalBands) -> Tensor:
    """`[B, T, 1]` that brings each frame to the clean one's loudness, a little sluggishly."""
    gain = (_audible(power_c, bands) + 5e3) / (_audible(power_e, bands) + 5e3)
    before = torch.cat([gain[:, :1], gain[:, :-1]], 1)
    return (0.8 * gain + 0.2 * before).clamp(3e-4, 5)[..., None]


def _frame_disturbances(
    power_e: Tensor, power_c: Tensor, bands: CriticalBands
) -> tuple[Tensor, Tensor]:
    """Symmetric and asymmetric, `[B, T]` each."""
    loud_e, loud_c = _loudness(power_e, bands), _loudness(power_c, bands)
    masked = 0.25 * torch.minimum(loud_e, loud_c)
    disturbance = torch.relu((loud_e - loud_c).abs() - masked) * bands.widths
    added = ((power_e + 50) / (power_c + 50)).pow(1.2)
    added = torch.where(added < 3, 0.0, added.clamp(max=12))
    symmetric = (disturbance.square().sum(2) * bands.widths.sum() + 1e-6).sqrt() - 1e-3
    return symmetric, (disturbance * added).sum(2)


def _loudness(power: Tensor, bands: CriticalBands) -> Tensor:
    raised = (0.5 + 0.5 * power / bands.threshold).pow(bands.exponent) - 1
    loudness: Tensor = (2 * bands.threshold).pow(bands.exponent) * torch.relu(raised)
    return LOUDNESS_SCALE * loudness


def _audible(power: Tensor, bands: CriticalBands, factor: float = 1.0) -> Tensor:
    """Power `[B, T]` of the bands above `factor` times the threshold."""
    return torch.where(power > factor * bands.threshold, power, 0.0).sum(2)


def _pooled(x: Tensor) -> Tensor:
    """`[B, T]` to `[B]`: the worst frames of every third of a second, then their mean square."""
    parts = x.unfold(1, min(N_POOLED, x.shape[1]), POOLED_HOP)  # [B, P, N_POOLED]
    worst = (parts.pow(POOLING_POWER).mean(2) + 1e-12).pow(1 / POOLING_POWER)
    return worst.square().mean(1).sqrt()


def _bark_edges(highest: float) -> Tensor:
    """`N_BARKS + 1` edges from 0 to just above the highest."""
    edges = [0.0]
    for _ in range(N_BARKS):
        edges.append(edges[-1] + NARROWEST_BARK + WIDENING * edges[-1])
    return torch.tensor(edges) * (highest / edges[-1] * 1.0001)


def _to_bark(hz: Tensor) -> Tensor:
    """Traunmueller's formula, bent so that 0 Hz is 0 Bark."""
    return 26.81 * hz / (1960 + hz) - 0.53 + 0.53 * torch.exp(-hz / 150)


def _to_hz(bark: Tensor) -> Tensor:
    hz = torch.arange(SAMPLE_RATE_HZ // 2 + 1)
    return torch.from_numpy(np.interp(bark.numpy(), _to_bark(hz).numpy(), hz.numpy())).float()


def _high_pass(hz: Tensor) -> Tensor:
    """Gain on powers of the high pass of P.862.2, two poles at about 100 Hz."""
    z = torch.exp(-2j * torch.pi * hz / SAMPLE_RATE_HZ)
    gain = 2.740826 * (1 - z).square() / (1 - 1.9444777 * z + 0.94597794 * z.square())
    return gain.abs().square()


@lru_cache(maxsize=2)
def _bands(device: torch.device) -> CriticalBands:
    return CriticalBands.on(device)
