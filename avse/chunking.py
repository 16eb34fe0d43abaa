"""Windows over a sound of any length: masks cross-faded, sound written as soon as it is certain.

Nothing here grows with the length of the clip but the caller's own output.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocessing.spectral import StftConfig, istft, stft
from preprocessing.timeline import STFT_FRAMES_PER_VIDEO_FRAME, n_stft_frames

MARGIN_FRAMES = STFT_FRAMES_PER_VIDEO_FRAME


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Where the windows of one clip lie, in STFT frames.

    Attributes:
        n_frames: Frames of the clip, a multiple of four.
        window_frames: Frames of a window; a shorter clip is one window of its own length.
        hop_frames: Step between windows; the last window ends with the clip.
    """

    n_frames: int
    window_frames: int
    hop_frames: int

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: A length is not a multiple of four, or the windows leave holes.
        """
        lengths = (self.n_frames, self.window_frames, self.hop_frames)
        if any(length % STFT_FRAMES_PER_VIDEO_FRAME for length in lengths):
            raise ValueError(f"WindowPlan: expected multiples of four, found {lengths}")
        if self.n_frames < 0 or not 0 < self.hop_frames <= self.window_frames:
            raise ValueError(f"WindowPlan: expected 0 < hop <= window, found {lengths}")

    @property
    def length_frames(self) -> int:
        """Frames of each window."""
        return min(self.n_frames, self.window_frames)

    @property
    def starts(self) -> tuple[int, ...]:
        """First frame of each window, in order."""
        if self.n_frames == 0:
            return ()
        last = self.n_frames - self.length_frames
        return (*range(0, last, self.hop_frames), last)

    def fade(self) -> Tensor:
        """`[W]` weights: up, flat, down over the overlap; positive everywhere."""
        n_overlap = self.window_frames - self.hop_frames
        up = torch.arange(1, self.length_frames + 1, dtype=torch.float32)
        return torch.minimum(up, up.flip(0)).clamp_max(n_overlap + 1) / (n_overlap + 1)


class CrossFade:
    """Joins the masks of overlapping windows, handed over in order."""

    def __init__(self, plan: WindowPlan) -> None:
        """Start before the first window."""
        self._plan = plan
        self._starts = plan.starts
        self._fade = plan.fade().unsqueeze(1)  # [W, 1]
        self._n_added = 0
        self._sum: Tensor | None = None
        self._weight: Tensor | None = None

    def add(self, mask: Tensor) -> Tensor:
        """Take the next window's mask and give the frames no later window will change.

        Args:
            mask: `[W, F]`.

        Returns:
            `[n, F]`, the frames that follow those given before.
        """
        weight = self._fade.to(mask.device)
        self._sum = _add(mask * weight, self._sum)
        self._weight = _add(weight, self._weight)
        self._n_added += 1
        return self._take()

    def _take(self) -> Tensor:
        """Frames up to the next window's start, where the sums then begin."""
        assert self._sum is not None
        assert self._weight is not None
        n_ready = self._plan.length_frames
        if self._n_added < len(self._starts):
            n_ready = self._starts[self._n_added] - self._starts[self._n_added - 1]
        ready = self._sum[:n_ready] / self._weight[:n_ready]
        self._sum, self._weight = self._sum[n_ready:], self._weight[n_ready:]
        return ready


class Resynthesis:
    """Applies a mask to a sound, span by span, exactly as one pass over the whole would."""

    def __init__(self, samples: NDArray[np.float32], config: StftConfig) -> None:
        """Start at the first sample of `samples`, `[L]`."""
        self._samples = samples
        self._config = config
        self._n_frames = n_stft_frames(samples.shape[0])
        self._n_done = 0
        self._begin = 0
        self._mask: Tensor | None = None

    def add(self, mask: Tensor) -> Tensor:
        """Take the mask's next frames and give the samples that are now certain.

        Args:
            mask: `[n, F]`, n a multiple of four.

        Returns:
            `[m]` samples that follow those given before, on the mask's device.
        """
        self._mask = mask if self._mask is None else torch.cat([self._mask, mask])
        end = self._begin + self._mask.shape[0]
        ready = end if end == self._n_frames else end - MARGIN_FRAMES
        if ready <= self._n_done:
            return torch.zeros(0, device=mask.device)
        sound = self._apply(self._mask, ready)
        self._n_done = ready
        kept_from = max(self._begin, ready - MARGIN_FRAMES)
        self._mask = self._mask[kept_from - self._begin :]
        self._begin = kept_from
        return sound

    def _apply(self, mask: Tensor, ready: int) -> Tensor:
        """Samples of frames `n_done` to `ready`, with one video frame of margin at both sides."""
        hop = self._config.hop_samples
        first = max(0, self._n_done - MARGIN_FRAMES)
        last = min(self._n_frames, ready + MARGIN_FRAMES)
        part = torch.tensor(self._samples[first * hop : last * hop], device=mask.device)
        masked = stft(part, self._config) * mask[first - self._begin : last - self._begin]
        sound = istft(masked, part.shape[0], self._config)
        return sound[(self._n_done - first) * hop : (ready - first) * hop]


def _add(longer: Tensor, shorter: Tensor | None) -> Tensor:
    """`[W, ..]` plus `[n, ..]` at its first rows, n at most W."""
    if shorter is None or shorter.shape[0] == 0:
        return longer
    n_rows = shorter.shape[0]
    return torch.cat([longer[:n_rows] + shorter, longer[n_rows:]])
