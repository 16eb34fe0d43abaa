"""A loss that understands: what STOI counts, made differentiable."""

from functools import lru_cache

import torch
from torch import Tensor

from preprocessing.timeline import SAMPLE_RATE_HZ

WINDOW_SAMPLES, HOP_SAMPLES, FFT_SAMPLES = 410, 205, 820
"""25.6 ms every 12.8 ms, and bins of 19.5 Hz: those of STOI at its 10 kHz."""
N_BANDS, LOWEST_HZ = 15, 150.0
SEGMENT_FRAMES = 30
SILENCE_DB = 40.0
"""Frames of the clean sound so far below its loudest one do not count."""
WORST_SDR_DB = -15.0
"""Below it a band of a segment counts as lost, however much worse it gets."""
SMALL = 1e-8


def lost_intelligibility(enhanced: Tensor, clean: Tensor) -> Tensor:
    """`1 - STOI`: how badly the envelopes of a sound follow those of the clean one.

    In every segment of .384 s and third of an octave the envelope `y` of the enhanced sound is
    brought to the energy of the clean one's, `x`, and bounded,
    `y' = min(y |x| / |y|, x (1 + 10^(15 / 20)))`; STOI is the mean of the correlations of `x` and
    `y'`.

    Reference:
        Taal et al., IEEE TASLP 19(7), 2011; as a loss: Fu et al., IEEE TASLP 26(9), 2018.

    Differs:
        Sounds stay at 16 kHz, silent frames are left out of the spectra and not of the sound.

    Args:
        enhanced: `[B, L]`, at 16 kHz.
        clean: Of the clean sound, likewise.

    Returns:
        `[B]`, 0 where the sounds are alike; 0 too where fewer than 30 frames hold clean sound.
    """
    n_frames = 1 + (clean.shape[1] - WINDOW_SAMPLES) // HOP_SAMPLES
    if n_frames < SEGMENT_FRAMES:
        return enhanced.new_zeros(len(enhanced))
    counts = _is_heard(clean)  # [B, T]
    n_heard = counts.sum(1)
    order = torch.argsort(counts.logical_not().int(), dim=1, stable=True)[..., None]
    envelopes = (_bands(sound) for sound in (enhanced, clean))
    y, x = (torch.take_along_dim(e, order, 1).unfold(1, SEGMENT_FRAMES, 1) for e in envelopes)
    correlation = _correlation(_bounded(y, x), x).mean(2)  # [B, S]
    starts = torch.arange(correlation.shape[1], device=clean.device)
    is_whole = starts + SEGMENT_FRAMES <= n_heard[:, None]
    lost = torch.where(is_whole, 1 - correlation, 0.0).sum(1)
    return lost / is_whole.sum(1).clamp(min=1)


def _is_heard(clean: Tensor) -> Tensor:
    """`[B, T]`: frames that hold sound, and are not far below the loudest one."""
    energy = (_frames(clean).square().sum(2) + 1e-12).log10() * 10
    return (energy > energy.amax(1, keepdim=True) - SILENCE_DB) & (energy > -60)


def _bands(sound: Tensor) -> Tensor:
    """Envelopes `[B, T, N_BANDS]` of a sound `[B, L]`."""
    power = torch.fft.rfft(_frames(sound), n=FFT_SAMPLES).abs().square()
    envelopes: Tensor = (power @ _third_octaves(sound.device) + SMALL).sqrt()
    return envelopes


def _frames(sound: Tensor) -> Tensor:
    """`[B, T, WINDOW_SAMPLES]` under a Hann window without its zeros at the ends."""
    window = torch.hann_window(WINDOW_SAMPLES + 1, device=sound.device)[1:]
    return sound.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * window


def _bounded(y: Tensor, x: Tensor) -> Tensor:
    """Segments `[B, S, N_BANDS, 30]` at the energy of the clean ones, where not far above them."""
    level = (x.square().sum(3, keepdim=True) / y.square().sum(3, keepdim=True)).sqrt()
    return torch.minimum(y * level, x * (1 + 10 ** (-WORST_SDR_DB / 20)))


def _correlation(y: Tensor, x: Tensor) -> Tensor:
    """`[B, S, N_BANDS]` of the segments of both."""
    y, x = (e - e.mean(3, keepdim=True) for e in (y, x))
    norms = (y.square().sum(3) + SMALL) * (x.square().sum(3) + SMALL)
    return (y * x).sum(3) / norms.sqrt()


@lru_cache(maxsize=2)
def _third_octaves(device: torch.device) -> Tensor:
    """`[F, N_BANDS]`: 1 where a bin belongs to a band; edges at the nearest bins."""
    hz = torch.arange(FFT_SAMPLES // 2 + 1) * (SAMPLE_RATE_HZ / FFT_SAMPLES)
    centres = LOWEST_HZ * 2 ** (torch.arange(N_BANDS) / 3)
    edges = [(hz[:, None] - centres * 2 ** (side / 6)).abs().argmin(0) for side in (-1, 1)]
    bins = torch.arange(len(hz))[:, None]
    return ((bins >= edges[0]) & (bins < edges[1])).float().to(device)
