"""Two results of one clip in one: the voice of the mouth seen; all voices where none is seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avse.bundle import Bundle
from avse.inference import Cleaned
from preprocessing.timeline import (
    SAMPLES_PER_VIDEO_FRAME,
    STFT_FRAMES_PER_VIDEO_FRAME,
)
from preprocessing.types import MouthTrack

KEPT_FRAMES = 10
"""Pictures after the last visible one for which the voice seen before is still followed: 0.4 s."""
FADE_FRAMES = 5
"""Pictures in which it gives way to all voices."""
_BLOCK_FRAMES = 1000


def seen_share(mouth: MouthTrack) -> NDArray[np.float32]:
    """Weight `[V]` of the result by sight: 1 near visible pictures, 0 far from any."""
    n_frames = len(mouth.is_visible)
    shown = np.flatnonzero(mouth.is_visible)
    if not len(shown):
        return np.zeros(n_frames, np.float32)
    places = np.arange(n_frames)
    after = np.searchsorted(shown, places)
    next_shown = shown[np.minimum(after, len(shown) - 1)]
    last_shown = shown[np.maximum(after - 1, 0)]
    distance = np.minimum(np.abs(next_shown - places), np.abs(places - last_shown))
    share = 1 - (distance - KEPT_FRAMES) / FADE_FRAMES
    clipped: NDArray[np.float32] = np.clip(share, 0, 1).astype(np.float32)
    return clipped


def needs_sound_alone(mouth: MouthTrack | None) -> bool:
    """Whether any part of the clip is far from a visible mouth."""
    return mouth is None or bool((seen_share(mouth) < 1).any())


def blended(seen: Cleaned, heard: Cleaned, mouth: MouthTrack) -> Cleaned:
    """The result by sight where a mouth is near, and the one by sound alone elsewhere.

    Both are masks on one mixture, so that a weighted sum of the sounds is that of the masks.

    Args:
        seen: Result by sight; it is changed.
        heard: Result by sound alone, as long.
        mouth: Whose visibility decides; a picture for each video frame of the sound.

    Returns:
        `seen`, in which sound, mask, top gain and doubt are blended.
    """
    share = seen_share(mouth)
    n_samples = len(seen.samples)
    for first in range(0, len(share), _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, len(share))
        if (share[max(first - 1, 0) : last + 1] == 1).all():
            continue
        span = slice(first * SAMPLES_PER_VIDEO_FRAME, last * SAMPLES_PER_VIDEO_FRAME)
        weight = _between(share, span.start, min(span.stop, n_samples), SAMPLES_PER_VIDEO_FRAME)
        _blend(seen.samples[span], heard.samples[span], weight)
        frames = slice(first * STFT_FRAMES_PER_VIDEO_FRAME, last * STFT_FRAMES_PER_VIDEO_FRAME)
        weight = _between(share, frames.start, frames.stop, STFT_FRAMES_PER_VIDEO_FRAME)
        _blend(seen.top_gain[frames], heard.top_gain[frames], weight)
        _blend(seen.doubt[frames], heard.doubt[frames], weight)
        if seen.mask is not None and heard.mask is not None:
            _blend(seen.mask[:, frames], heard.mask[:, frames], weight)
    return seen


def _between(share: NDArray[np.float32], first: int, last: int, n_each: int) -> NDArray[np.float32]:
    """Weights at the points `first` to `last`, `n_each` a picture, whose own is at its middle."""
    middles = np.arange(len(share)) * n_each + (n_each - 1) / 2
    return np.interp(np.arange(first, last), middles, share).astype(np.float32)


def _blend(
    seen: NDArray[np.floating], heard: NDArray[np.floating], weight: NDArray[np.float32]
) -> None:
    seen[...] = seen * weight + heard * (1 - weight)


@dataclass(frozen=True, slots=True)
class Parts:
    """What was made of one target: by sight, by sound alone, or both; with seconds by second."""

    seen: tuple[Cleaned, float] | None
    heard: tuple[Cleaned, float] | None
    other: Bundle | None

    @property
    def infer_share(self) -> float:
        """Seconds of work by second of sound."""
        return sum(part[1] for part in (self.seen, self.heard) if part is not None)

    @property
    def label(self) -> str | None:
        """The network that went by sound alone, if it was another."""
        return None if self.heard is None or self.other is None else self.other.label

    def result(self, mouth: MouthTrack | None) -> Cleaned:
        """Both in one."""
        if self.seen is None or mouth is None or self.heard is None:
            part = self.seen or self.heard
            assert part is not None
            return part[0]
        return blended(self.seen[0], self.heard[0], mouth)
