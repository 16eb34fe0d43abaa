"""The network over windows of any number of clips: masks, then sound, in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avse.bundle import Bundle
from avse.chunking import CrossFade, Resynthesis, WindowPlan
from preprocessing.mouth_store import release_pages
from preprocessing.spectral import RMS_FLOOR, level_gain, log_mel, stft_span
from preprocessing.timeline import (
    STFT_FRAMES_PER_VIDEO_FRAME,
    exact_div,
    n_stft_frames,
    n_video_frames,
)
from preprocessing.types import MouthTrack, Progress, no_progress

VISUAL_MARGIN_FRAMES = 3
"""The visual tower's first convolution looks two pictures back and two ahead; a lag takes one."""
TOP_BAND_HZ = 7000.0
QUIET_WINDOW_SHARE = 0.25
"""A window counts as no quieter than this share of its clip: pauses are not blown up."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sound to be cleaned.

    Attributes:
        samples: `[L]` float32, 16 kHz.
        mouth: The speaker's mouth from the first sample on; None = nothing is seen.
    """

    samples: NDArray[np.float32]
    mouth: MouthTrack | None

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: There are more or fewer pictures than the sound has video frames.
        """
        wanted = n_video_frames(self.samples.shape[0])
        if self.mouth is not None and self.mouth.crops.shape[0] != wanted:
            found = self.mouth.crops.shape[0]
            raise ValueError(f"mouth: expected {wanted} pictures for the sound, found {found}")


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What the network made of a job.

    Attributes:
        samples: `[L]` float32.
        mask: `[F, T]` float16 before `strength`, or None; its magnitude, where it is complex.
        top_gain: `[T]` float32: mean of the applied mask from 7 to 8 kHz.
        doubt: `[T]` float32, 0..1: how far the mask gave way to that of every voice.
    """

    samples: NDArray[np.float32]
    mask: NDArray[np.float16] | None
    top_gain: NDArray[np.float32]
    doubt: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How jobs are run.

    Attributes:
        device: Where the network is.
        batch_windows: Windows in one forward pass.
        strength: 0..1.
        keeps_mask: Whether results hold the mask.
    """

    device: torch.device
    batch_windows: int
    strength: float
    keeps_mask: bool


@torch.inference_mode()
def clean(
    bundle: Bundle, jobs: Sequence[Job], config: RunConfig, progress: Progress = no_progress
) -> list[Cleaned]:
    """Clean every job; windows of equal length go through the network together.

    Args:
        bundle: Network (on `config.device`) and settings.
        jobs: Sounds and mouths.
        config: How.
        progress: Called as `("infer", windows done, windows in all)`.

    Returns:
        One result for each job, in order.
    """
    streams = [_Stream(job, bundle, config) for job in jobs]
    total = sum(len(stream.plan.starts) for stream in streams)
    done = 0
    for batch in _batches(streams, config.batch_windows):
        for window, mask in zip(batch, _masks(bundle, batch, config), strict=True):
            window.stream.add(mask)
        done += len(batch)
        progress("infer", done, total)
    return [stream.result() for stream in streams]


def n_windows(bundle: Bundle, jobs: Sequence[Job]) -> int:
    """Windows that `clean` goes through, in all."""
    return sum(len(_plan(job, bundle).starts) for job in jobs)


def _plan(job: Job, bundle: Bundle) -> WindowPlan:
    chunk = bundle.settings.chunk
    return WindowPlan(n_stft_frames(job.samples.shape[0]), chunk.window_frames, chunk.hop_frames)


def in_turn(progress: Progress, n_first: int, n_second: int) -> tuple[Progress, Progress]:
    """Two runs of `clean`, one after the other, as one run of all their windows."""
    total = n_first + n_second

    def first(stage: str, done: float, _: float) -> None:
        progress(stage, done, total)

    def second(stage: str, done: float, _: float) -> None:
        progress(stage, n_first + done, total)

    return first, second


@dataclass(frozen=True, slots=True)
class _Window:
    stream: "_Stream"
    start: int

    @property
    def end(self) -> int:
        return self.start + self.stream.plan.length_frames


def _batches(streams: Sequence["_Stream"], size: int) -> Iterator[list[_Window]]:
    """Windows of equal length, `size` at a time, each clip's in order."""
    by_length = sorted(streams, key=lambda stream: stream.plan.length_frames)
    for _, group in groupby(by_length, key=lambda stream: stream.plan.length_frames):
        batch: list[_Window] = []
        for window in (_Window(s, start) for s in group for start in s.plan.starts):
            batch.append(window)
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch


def _masks(bundle: Bundle, batch: list[_Window], config: RunConfig) -> Tensor:
    """Masks of a batch of windows, and behind the last bin the doubt: `[B, W, F + 1]`."""
    levelled = [w.stream.spectrum(w.start, w.end, config.device) for w in batch]
    spectrum = torch.stack(levelled)  # [B, W, F]
    seen = [w.stream.sight.span(w.start, w.end) for w in batch]
    is_visible = torch.stack([visible for _, visible in seen]).to(config.device)  # [B, V]
    visual = [torch.stack(depth) for depth in zip(*(features for features, _ in seen), strict=True)]
    mel = log_mel(spectrum.abs(), bundle.settings.stft)  # [B, W, M]
    heard = bundle.module.hear(mel, spectrum, visual, is_visible)
    doubt = heard.doubt[:, None, None].expand(-1, spectrum.shape[1], 1)
    return torch.cat([heard.mask, doubt.to(heard.mask.dtype)], 2)


class _Stream:
    """One job on its way: windows in, samples out."""

    def __init__(self, job: Job, bundle: Bundle, config: RunConfig) -> None:
        settings = bundle.settings
        self.plan = _plan(job, bundle)
        n_frames = self.plan.n_frames
        self.sight = _Sight(job.mouth, bundle, config.device, n_frames)
        self._samples = job.samples
        self._settings = settings
        self._clip_rms = _rms(job.samples)
        self._strength = config.strength
        self._fade = CrossFade(self.plan)
        self._resynthesis = Resynthesis(job.samples, settings.stft)
        self._sound = np.zeros_like(job.samples)
        self._top_gain = np.ones(n_frames, np.float32)
        self._doubt = np.zeros(n_frames, np.float32)
        shape = (settings.stft.n_bins, n_frames)
        self._mask = np.zeros(shape, np.float16) if config.keeps_mask else None
        self._n_samples = self._n_frames = 0

    def spectrum(self, start: int, end: int, device: torch.device) -> Tensor:
        """`[W, F]` of a window, complex, at the level the network knows."""
        hop = self._settings.stft.hop_samples
        first = max(0, start - STFT_FRAMES_PER_VIDEO_FRAME)
        last = min(self.plan.n_frames, end + STFT_FRAMES_PER_VIDEO_FRAME)
        sound = torch.tensor(self._samples[first * hop : last * hop], device=device)
        spectrum = stft_span(sound, start - first, end - first, self._settings.stft)
        part = sound[(start - first) * hop : (end - first) * hop]
        gain = level_gain(part, self._settings.level_rms)
        quietest = max(self._clip_rms * QUIET_WINDOW_SHARE, RMS_FLOOR)
        return spectrum * gain.clamp_max(self._settings.level_rms / quietest)

    def add(self, mask: Tensor) -> None:
        """Take what `_masks` has of the next window, `[W, F + 1]`."""
        joined = self._fade.add(mask)  # [n, F + 1]
        ready = joined[:, :-1]
        frames = slice(self._n_frames, self._n_frames + ready.shape[0])
        self._doubt[frames] = joined[:, -1].real.cpu().numpy()
        if self._mask is not None:
            self._mask[:, frames] = ready.abs().T.half().cpu().numpy()
        applied = 1.0 - self._strength * (1.0 - ready)
        top_bin = round(TOP_BAND_HZ * self._settings.stft.window_samples / 16_000)
        self._top_gain[frames] = applied[:, top_bin:].abs().mean(dim=1).cpu().numpy()
        sound = self._resynthesis.add(applied).cpu().numpy()
        self._sound[self._n_samples : self._n_samples + sound.shape[0]] = sound
        self._n_frames, self._n_samples = frames.stop, self._n_samples + sound.shape[0]

    def result(self) -> Cleaned:
        """The whole, once every window is in."""
        assert self._n_samples == self._sound.shape[0]
        return Cleaned(self._sound, self._mask, self._top_gain, self._doubt)


@dataclass(slots=True)
class _Sight:
    """Mouth features of one clip, each picture encoded once, only the last window kept."""

    mouth: MouthTrack | None
    bundle: Bundle
    device: torch.device
    n_frames: int
    _first: int = 0
    _features: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the widths of the features."""
        side = self.bundle.settings.crop_px
        crops = torch.zeros(1, 1, side, side, dtype=torch.uint8, device=self.device)
        encoded = self.bundle.module.encode_visual(crops)
        self._features = [depth.new_zeros(0, depth.shape[2]) for depth in encoded]

    @property
    def _end(self) -> int:
        return self._first + (self._features[0].shape[0] if self._features else 0)

    def span(self, start: int, end: int) -> tuple[list[Tensor], Tensor]:
        """Features `[V, C_i]` and visibility `[V]` of the STFT frames `start` to `end`.

        Spans must not step back behind the start of the one before.
        """
        first = exact_div(start, STFT_FRAMES_PER_VIDEO_FRAME)
        last = exact_div(end, STFT_FRAMES_PER_VIDEO_FRAME)
        if self.mouth is None:
            is_visible = torch.zeros(last - first, dtype=torch.bool)
        else:
            is_visible = torch.tensor(self.mouth.is_visible[first:last])
        if self._features:
            fresh = self._encode(self._end, last)
            known = zip(self._features, fresh, strict=True)
            self._features = [torch.cat(pair)[first - self._first :] for pair in known]
            self._first = first
        return [depth[: last - first] for depth in self._features], is_visible

    def _encode(self, first: int, last: int) -> list[Tensor]:
        """Features of pictures `first` to `last`; zeros where none of them is visible."""
        n_new = last - first
        if n_new <= 0 or self.mouth is None or not self.mouth.is_visible[first:last].any():
            return [depth.new_zeros(max(n_new, 0), depth.shape[1]) for depth in self._features]
        begin = max(0, first - VISUAL_MARGIN_FRAMES)
        stop = min(self.mouth.crops.shape[0], last + VISUAL_MARGIN_FRAMES)
        crops = centre_crop(self.mouth.crops[begin:stop], self.bundle.settings.crop_px)
        pictures = torch.tensor(crops, device=self.device).unsqueeze(0)  # [1, V, H, W]
        release_pages(self.mouth.crops)
        encoded = self.bundle.module.encode_visual(pictures)
        is_visible = torch.tensor(self.mouth.is_visible[begin:stop], device=self.device)
        timed = [in_time(depth[0], is_visible, self.mouth.lag_frames) for depth in encoded]
        return [depth[first - begin : last - begin] for depth in timed]


def in_time(features: Tensor, is_visible: Tensor, lag_frames: float) -> Tensor:
    """Features `[V, C]` of pictures that come late by part of a frame, at the time of the sound.

    Each is mixed with the next one, or the one before, by the lag's share of a frame, where both
    pictures `[V]` are visible.
    """
    if not lag_frames:
        return features
    step = 1 if lag_frames > 0 else -1
    places = torch.arange(len(features), device=features.device)
    beside = (places + step).clamp(0, len(features) - 1)
    share = abs(lag_frames) * (is_visible & is_visible[beside])[:, None].to(features.dtype)
    return torch.lerp(features, features[beside], share)


def centre_crop(crops: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """The middle `side_px` of `[V, H, W]`.

    Raises:
        ValueError: The crops are smaller.
    """
    height, width = crops.shape[1:]
    if min(height, width) < side_px:
        raise ValueError(f"crops: expected at least {side_px} px, found {width}x{height}")
    top, left = (height - side_px) // 2, (width - side_px) // 2
    return crops[:, top : top + side_px, left : left + side_px]


def _rms(samples: NDArray[np.float32]) -> float:
    """Root mean square without a float64 copy of an hour of sound."""
    return float(np.sqrt(np.dot(samples, samples) / max(1, samples.shape[0])))
