"""Channels of decoded sound mixed to one, with what is not a number taken out."""

import math

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

MAX_PLAUSIBLE = 1e6
CANCELLED_SHARE = 1e-3
N_OWN_PLANES = 8

_CHANNEL_WEIGHTS = {
    "FL": 1.0, "FR": 1.0, "FC": 2**0.5, "LFE": 0.0, "LFE2": 0.0,
    "BL": 0.5**0.5, "BR": 0.5**0.5, "SL": 0.5**0.5, "SR": 0.5**0.5, "BC": 0.5**0.5,
}  # fmt: skip


class MonoMix:
    """Mixes blocks to mono and notices channels that cancel each other.

    Stereo is the mean of its channels. With more, the centre counts most, the surrounds least and
    the bass channel not at all; the weights add up to one, so that the mix cannot clip.
    """

    def __init__(self) -> None:
        """Start with no sound heard."""
        self._energy_in = 0.0
        self._energy_out = 0.0

    def __call__(self, frame: AudioFrame) -> tuple[NDArray[np.float32], int]:
        """Return `[L]` float32, integer full scale being 1.0, and how many samples were mended."""
        channels, n_insane = _sanitise(_as_channels(frame))
        if channels.shape[0] == 1:
            return channels.reshape(-1), n_insane
        weights = mono_weights(tuple(channel.name for channel in frame.layout.channels))
        mono: NDArray[np.float32] = weights @ channels
        self._energy_in += float(weights @ np.square(channels).sum(axis=1))
        self._energy_out += float(np.square(mono).sum())
        return mono, n_insane

    @property
    def has_cancelled(self) -> bool:
        """Whether nearly nothing is left of sound that was there, as with one channel inverted."""
        return self._energy_out < CANCELLED_SHARE * self._energy_in


class FirstChannel(MonoMix):
    """Takes the first channel alone."""

    def __call__(self, frame: AudioFrame) -> tuple[NDArray[np.float32], int]:
        """Return `[L]` float32 and how many samples were mended."""
        channels, n_insane = _sanitise(_as_channels(frame)[:1])
        return channels.reshape(-1), n_insane


def _sanitise(channels: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Set to zero what is NaN, infinite or absurdly large; count it."""
    is_sane = np.abs(channels) < MAX_PLAUSIBLE
    n_insane = int(is_sane.size - np.count_nonzero(is_sane))
    if n_insane:
        channels = np.where(is_sane, channels, np.float32(0.0))
    return channels, n_insane


def mono_weights(names: tuple[str, ...]) -> NDArray[np.float32]:
    """Weights of named channels that add up to one; unnamed ones count equally."""
    weights = np.array([_CHANNEL_WEIGHTS.get(name, 0.5) for name in names], np.float32)
    if not any(name in _CHANNEL_WEIGHTS for name in names) or weights.sum() == 0.0:
        weights = np.ones(len(names), np.float32)
    shares: NDArray[np.float32] = weights / weights.sum()
    return shares


def _as_channels(frame: AudioFrame) -> NDArray[np.float32]:
    """Return `[C, L]` float32."""
    frame = _readable(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T  # [C, L]
    scaled: NDArray[np.float32]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values.astype(np.float32)
    if values.dtype == np.uint8:
        scaled = (scaled - 128.0) / 128.0
    elif values.dtype.kind == "i":
        scaled = scaled * np.float32(math.ldexp(1.0, 1 - 8 * values.dtype.itemsize))
    return scaled


def _readable(frame: AudioFrame) -> AudioFrame:
    """The frame, packed where PyAV 18 would read planes past the eight that a frame itself holds.

    With eight planes or more it takes what lies behind them for another one: a segmentation fault.
    """
    if not frame.format.is_planar or len(frame.layout.channels) < N_OWN_PLANES:
        return frame
    packed: AudioFrame = AudioResampler(frame.format.packed, frame.layout).resample(frame)[0]
    return packed
