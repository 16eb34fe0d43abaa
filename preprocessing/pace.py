"""Sound and lips as if played slower: spectra of shorter hops, and masks back again."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from preprocessing.timeline import (
    HOP_SAMPLES,
    STFT_FRAMES_PER_VIDEO_FRAME,
    WINDOW_SAMPLES,
    exact_div,
)

_N_BINS = WINDOW_SAMPLES // 2 + 1
_WINDOW_HOPS = exact_div(WINDOW_SAMPLES, HOP_SAMPLES)


@dataclass(frozen=True, slots=True)
class Pace:
    """How slowly a network hears: a spectrum of hop h is that of the sound played h / 160 as fast.

    A network made for 10 ms frames takes such a spectrum as it is. It hears lower voices that take
    their time: more frames for each sound, and more of its mel bands where the harmonics lie.

    Attributes:
        hop_samples: h, at 16 kHz; the window is four hops long. 160 changes nothing.

    Raises:
        ValueError: The hop is odd, not positive, or longer than 160.
    """

    hop_samples: int = HOP_SAMPLES

    def __post_init__(self) -> None:
        """Check the contract."""
        hop = self.hop_samples
        if hop % 2 or not 0 < hop <= HOP_SAMPLES:
            raise ValueError(f"hop: expected an even number up to {HOP_SAMPLES}, found {hop}")

    def n_frames(self, n_frames: int) -> int:
        """Frames, four to a picture, that cover `n_frames` of 10 ms."""
        picture = STFT_FRAMES_PER_VIDEO_FRAME * self.hop_samples
        return STFT_FRAMES_PER_VIDEO_FRAME * -(-n_frames * HOP_SAMPLES // picture)

    def magnitude(self, waveform: Tensor, n_frames: int, lead: int = 0) -> Tensor:
        """Magnitudes of the spectrum, a full-scale sine at 1.

        Args:
            waveform: `[.., L]` at 16 kHz; zero beyond its ends.
            n_frames: Frames of 10 ms, a multiple of four.
            lead: Samples of `waveform` before the first of these.

        Returns:
            `[.., n, 321]`, n as `n_frames` says, frame t centred on sample `lead + (t + 0.5) h`;
            bin k holds 4000 k / h Hz, and zero where that is beyond 8 kHz.
        """
        hop, size = self.hop_samples, _WINDOW_HOPS * self.hop_samples
        edge = exact_div(size - hop, 2)
        n_padded = self.n_frames(n_frames) * hop
        missing = lead + n_padded + edge - waveform.shape[-1]
        frames = functional.pad(waveform, (edge - lead, missing)).unfold(-1, size, hop)
        window = torch.hann_window(size, device=waveform.device)
        spectrum = torch.fft.rfft(frames * (window * (2.0 / window.sum())))
        return functional.pad(spectrum.abs(), (0, _N_BINS - spectrum.shape[-1]))

    def sight(self, visual: list[Tensor], is_visible: Tensor) -> tuple[list[Tensor], Tensor]:
        """Pictures at this pace.

        Args:
            visual: `[B, V, C_i]` each, 25 a second.
            is_visible: `[B, V]` bool.

        Returns:
            `[B, v, C_i]` each, mixed of two neighbours where both are visible and else the nearer
            one's, and its visibility `[B, v]`; four frames of `magnitude` to a picture.
        """
        n_pictures = is_visible.shape[1]
        n_slow = self.n_frames(n_pictures * STFT_FRAMES_PER_VIDEO_FRAME)
        n_slow = exact_div(n_slow, STFT_FRAMES_PER_VIDEO_FRAME)
        ratio = self.hop_samples / HOP_SAMPLES
        places = _places(n_slow, ratio, n_pictures, is_visible.device)
        before, share = places.floor().long(), places % 1
        after = (before + 1).clamp_max(n_pictures - 1)
        nearest = places.round().long()
        both = is_visible[:, before] & is_visible[:, after]
        share = torch.where(both, share, (nearest > before).to(share.dtype))[..., None]
        mixed = [torch.lerp(x[:, before], x[:, after], share.to(x.dtype)) for x in visual]
        return mixed, is_visible[:, nearest]

    def on_clock(self, mask: Tensor, n_frames: int) -> Tensor:
        """A mask `[.., n, 321]` of this pace as one of 10 ms frames and 25 Hz bins.

        Returns:
            `[.., n_frames, 321]`, mixed of neighbours in time and in frequency.
        """
        ratio = self.hop_samples / HOP_SAMPLES
        times = _places(n_frames, 1 / ratio, mask.shape[-2], mask.device)
        bins = torch.arange(_N_BINS, device=mask.device) * ratio
        return _between(_between(mask, times, -2), bins, -1)


def _places(n: int, step: float, n_there: int, device: torch.device) -> Tensor:
    """Where the centres of n intervals of length `step` lie among those of length 1."""
    places = (torch.arange(n, device=device) + 0.5) * step - 0.5
    return places.clamp(0, n_there - 1)


def _between(values: Tensor, places: Tensor, dim: int) -> Tensor:
    """Values at fractional places along a dimension."""
    before = places.floor().long()
    after = (before + 1).clamp_max(values.shape[dim] - 1)
    share = (places % 1).to(values.dtype)
    share = share if dim == -1 else share[:, None]
    return torch.lerp(values.index_select(dim, before), values.index_select(dim, after), share)
