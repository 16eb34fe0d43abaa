"""Back to the input's own rate: the cleaned band below 8 kHz, the input's sound above it."""

import numpy as np
import soxr
from numpy.typing import NDArray

from preprocessing.timeline import HOP_SAMPLES, SAMPLE_RATE_HZ
from preprocessing.types import Waveform

Samples = NDArray[np.float32]

BLOCK_S = 20
MARGIN_S = 1
SMOOTHING_FRAMES = 9
MAX_APART_S = 0.002

PASSED = "above 8 kHz: the input's own sound, turned down where the mask is low at 7 to 8 kHz"


def at_input_rate(native: Waveform, enhanced: Waveform, top_gain: Samples) -> Waveform:
    """Join the cleaned band and the input's high band, block by block.

    Above 8 kHz the network hears nothing. The input passes through there with one gain, the mean
    mask from 7 to 8 kHz smoothed over 90 ms: nothing is made up, and noise does not stay behind.

    Args:
        native: The input at its own rate, on the clip's clock.
        enhanced: The result at 16 kHz, from the same start.
        top_gain: `[T]` mean of the applied mask from 7 to 8 kHz, by 10 ms.

    Returns:
        As many samples as `native`, from the same start, in step to the sample.

    Raises:
        ValueError: The two do not start or end together.
    """
    rate_hz = native.sample_rate_hz
    apart_s = (native.duration_s - enhanced.duration_s, native.start_s - enhanced.start_s)
    if max(map(abs, apart_s)) > MAX_APART_S:
        raise ValueError(f"at_input_rate: the sounds lie (duration, start) {apart_s} s apart")
    joined = np.zeros_like(native.samples)
    gain = _smooth(top_gain)
    for first_s in range(0, int(native.duration_s) + 1, BLOCK_S):
        begin_s, last_s = max(0, first_s - MARGIN_S), first_s + BLOCK_S
        end_s = last_s + MARGIN_S
        part = native.samples[begin_s * rate_hz : end_s * rate_hz]
        low = enhanced.samples[begin_s * SAMPLE_RATE_HZ : end_s * SAMPLE_RATE_HZ]
        block = _fit(_resample(low, SAMPLE_RATE_HZ, rate_hz), part.shape[0])
        if rate_hz > SAMPLE_RATE_HZ:
            block = block + _high_band(part, rate_hz) * _gain_at(gain, begin_s, part, rate_hz)
        offset = (first_s - begin_s) * rate_hz
        target = joined[first_s * rate_hz : last_s * rate_hz]
        target[:] = block[offset : offset + target.shape[0]]
    return Waveform(joined, rate_hz, native.start_s)


def _high_band(part: Samples, rate_hz: int) -> Samples:
    """What 16 kHz cannot hold of a sound: the sound without its lower band."""
    low = _resample(_resample(part, rate_hz, SAMPLE_RATE_HZ), SAMPLE_RATE_HZ, rate_hz)
    return part - _fit(low, part.shape[0])


def _gain_at(gain: Samples, begin_s: int, part: Samples, rate_hz: int) -> Samples:
    """The gain at each sample of a block that starts at `begin_s`."""
    frame_s = HOP_SAMPLES / SAMPLE_RATE_HZ
    times_s = begin_s + (np.arange(part.shape[0]) + 0.5) / rate_hz
    centres_s = (np.arange(gain.shape[0]) + 0.5) * frame_s
    return np.interp(times_s, centres_s, gain).astype(np.float32)


def _smooth(gain: Samples) -> Samples:
    """Mean over `SMOOTHING_FRAMES`, the ends held."""
    if gain.shape[0] == 0:
        return np.ones(1, np.float32)
    side = SMOOTHING_FRAMES // 2
    held = np.pad(gain, side, mode="edge")
    kernel = np.full(SMOOTHING_FRAMES, 1 / SMOOTHING_FRAMES, np.float32)
    return np.convolve(held, kernel, mode="valid").astype(np.float32)


def _resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Linear-phase resampling, without delay."""
    if from_hz == to_hz or samples.shape[0] == 0:
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), np.float32)


def _fit(samples: Samples, n_samples: int) -> Samples:
    """Cut or zero-pad the sample or two by which rates round differently."""
    if samples.shape[0] >= n_samples:
        return samples[:n_samples]
    return np.pad(samples, (0, n_samples - samples.shape[0]))
