"""Agreement of one mouth with the sound, lag by lag, in bounded windows."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avse.spans import runs
from models.lip_sync import LipSync
from preprocessing.mouth_store import release_pages
from preprocessing.spectral import level_gain, log_mel, stft
from preprocessing.timeline import SAMPLES_PER_VIDEO_FRAME
from preprocessing.types import MouthTrack, Waveform


@dataclass(frozen=True, slots=True)
class SpeakerConfig:
    """How agreement of lips and sound is measured.

    Attributes:
        max_offset_frames: Largest offset that is looked for, 25 fps frames.
        far_frames: Lags up to here are measured; those away from the peak are what chance gives.
        peak_frames: Lags this near to the peak belong to it.
        sure_spreads: A sure peak stands this many standard deviations of the other lags above them.
        sure_margin: A sure peak stands this much over the square root of the frames above the best
            other lag. With both, and the first lips/sound network, people not in training got a
            wrong offset in at most one clip of twenty (2 s and longer, clean or noise 3 dB below).
        min_offset_base_frames: No offset is believed on fewer frames.
        min_offset_frames: Smaller offsets are natural and left alone.
        fine_frames: Farthest from the clip's offset that the picture's own is looked for.
        usual_frames: Standard deviation of offsets from clip to clip, where nothing is measured.
        evidence: Weight of a frame's agreement, a cosine, against that. On mixtures of two voices
            of the split `valid` 0.8 and 1.3 were alike and better than 2.
        window_frames: Longest stretch that is embedded at once.
        min_window_frames: Shorter stretches say nothing.
        max_frames: Most frames looked at, all faces together.
        max_track_frames: Most frames looked at for one face.
        crop_px: Side of the centre crop the network sees.
        level_rms: Root mean square it hears a stretch at.
    """

    max_offset_frames: int = 15
    far_frames: int = 40
    peak_frames: int = 4
    sure_spreads: float = 4.0
    sure_margin: float = 1.25
    min_offset_base_frames: int = 50
    min_offset_frames: int = 2
    fine_frames: float = 3.0
    usual_frames: float = 1.0
    evidence: float = 1.0
    window_frames: int = 100
    min_window_frames: int = 10
    max_frames: int = 3000
    max_track_frames: int = 800
    crop_px: int = 112
    level_rms: float = 0.05


@dataclass(frozen=True, slots=True)
class LagCurve:
    """Agreement of one mouth with the sound at every lag.

    Attributes:
        lags: `[K]` frames by which the picture comes late.
        sums: `[K]` summed cosines.
        counts: `[K]` how many pairs of frames.
    """

    lags: NDArray[np.int64]
    sums: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """`[K]` mean cosines, 0 where there is no pair."""
        means: NDArray[np.float64] = self.sums / np.maximum(self.counts, 1.0)
        return means

    @property
    def n_frames(self) -> int:
        """Frames of the mouth that were compared."""
        return int(self.counts.max())


def lag_curve(
    audio: Waveform,
    mouth: MouthTrack,
    lip_sync: LipSync,
    config: SpeakerConfig,
    max_frames: int,
) -> LagCurve:
    """Agreement of one mouth with the sound at every lag, from stretches spread over the clip."""
    lags = np.arange(-config.far_frames, config.far_frames + 1)
    curve = LagCurve(lags, np.zeros(len(lags)), np.zeros(len(lags)))
    for first, last in _stretches(mouth.is_visible, config, max_frames):
        lips = _embed_lips(mouth, first, last, lip_sync, config)  # [v, D]
        begin = max(0, first - config.far_frames)
        end = min(len(mouth.crops), last + config.far_frames)
        sound = _embed_sound(audio, begin, end, lip_sync, config)  # [a, D]
        _add_diagonals(curve, (lips @ sound.T).cpu().numpy(), first - begin)
        release_pages(mouth.crops)
    return curve


def _stretches(
    is_visible: NDArray[np.bool_], config: SpeakerConfig, max_frames: int
) -> list[tuple[int, int]]:
    """Visible stretches of at most one window, spread over the clip."""
    found = []
    for start, stop in runs(is_visible).tolist():
        n_parts = -(-(stop - start) // config.window_frames)
        bounds = np.linspace(start, stop, n_parts + 1).round().astype(int).tolist()
        found += list(pairwise(bounds))
    long_enough = [(a, b) for a, b in found if b - a >= config.min_window_frames]
    n_kept = max(1, max_frames // config.window_frames)
    if len(long_enough) <= n_kept:
        return long_enough
    picked = np.linspace(0, len(long_enough) - 1, n_kept).round().astype(int)
    return [long_enough[index] for index in picked]


@torch.inference_mode()
def _embed_lips(
    mouth: MouthTrack, first: int, last: int, lip_sync: LipSync, config: SpeakerConfig
) -> Tensor:
    spare = mouth.crops.shape[1] - config.crop_px
    inside = slice(spare // 2, spare // 2 + config.crop_px)
    crops = torch.from_numpy(np.array(mouth.crops[first:last, inside, inside]))
    return lip_sync.embed_video(crops[None].to(_device(lip_sync)))[0]


@torch.inference_mode()
def _embed_sound(
    audio: Waveform, first: int, last: int, lip_sync: LipSync, config: SpeakerConfig
) -> Tensor:
    step = SAMPLES_PER_VIDEO_FRAME
    samples = torch.zeros((last - first) * step)
    heard = torch.from_numpy(audio.samples[first * step : last * step])
    samples[: len(heard)] = heard * level_gain(heard, config.level_rms)
    features = log_mel(stft(samples[None].to(_device(lip_sync))).abs())
    return lip_sync.embed_audio(features)[0]


def _device(lip_sync: LipSync) -> torch.device:
    return next((p.device for p in lip_sync.parameters()), torch.device("cpu"))


def _add_diagonals(curve: LagCurve, cosines: NDArray[np.float32], n_before: int) -> None:
    """Add `[v, a]` cosines to the curve; sound frame `n_before` belongs to lips frame 0."""
    n_lips, n_sound = cosines.shape
    for index, lag in enumerate(curve.lags):
        shift = n_before - int(lag)
        if -n_lips < shift < n_sound:
            diagonal = np.diagonal(cosines, shift)
            curve.sums[index] += float(diagonal.sum())
            curve.counts[index] += len(diagonal)
