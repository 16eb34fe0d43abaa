"""Stage (c), first half: the frozen lip tower's features of every clip, computed once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avse.training.cache import CachedClip
from avse.training.compute import CPU, Compute
from avse.training.crop_augmentation import MILD, CropAugmentation, augmented
from avse.training.lips import Window, crops_of, n_usable
from models.visual_tower import VisualTower
from preprocessing.types import Progress, no_progress

SEED = 1


@dataclass(frozen=True, slots=True)
class Renderings:
    """How the crops of a clip are shown to the tower.

    Attributes:
        n: How often; the first time as they are, then varied.
        augmentation: How strongly.
        with_mirror: Features are the mean of those of a picture and of its mirror image, as a
            network with `mirrors_lips` has them.
    """

    n: int = 3
    augmentation: CropAugmentation = MILD
    with_mirror: bool = False


AS_FILMED = Renderings(n=1)


@dataclass(frozen=True, slots=True)
class LipFeatures:
    """Pooled features of many clips in one array.

    Attributes:
        values: `[variants, frames, D]` float16; variant 0 is the centre crop.
        bounds: `[clips + 1]`: clip i holds frames `bounds[i]:bounds[i + 1]`.
        is_visible: `[frames]` bool.
        widths: How D splits into the tower's depths.
    """

    values: NDArray[np.float16]
    bounds: NDArray[np.int64]
    is_visible: NDArray[np.bool_]
    widths: tuple[int, ...]

    def of(self, clip_index: int, variant: int = 0) -> NDArray[np.float16]:
        """Features `[V, D]` of one clip."""
        return self.values[variant, self.bounds[clip_index] : self.bounds[clip_index + 1]]

    def visible(self, clip_index: int) -> NDArray[np.bool_]:
        """Visibility `[V]` of one clip."""
        return self.is_visible[self.bounds[clip_index] : self.bounds[clip_index + 1]]


def lip_features(
    clips: Sequence[CachedClip],
    tower: VisualTower,
    path: Path,
    renderings: Renderings = AS_FILMED,
    compute: Compute = CPU,
    progress: Progress = no_progress,
) -> LipFeatures:
    """Features of the clips, from `path` if they are there, else computed and kept there.

    In bfloat16 they are off by a hundredth of their spread, and take half the time.
    """
    if path.is_file():
        return _load(path, tower.feature_channels)
    lengths = [n_usable(clip) for clip in clips]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n_features = sum(tower.feature_channels)
    values = np.zeros((renderings.n, int(bounds[-1]), n_features), np.float16)
    for index, clip in enumerate(clips):
        rng = np.random.default_rng((SEED, index))
        crops = np.stack(list(_rendered(clip, lengths[index], renderings, rng)))
        with compute.autocast():
            values[:, bounds[index] : bounds[index + 1]] = _encode(
                tower, crops, renderings.with_mirror
            )
        progress("features", index + 1, len(clips))
    shown = np.concatenate([c.is_visible[:n] for c, n in zip(clips, lengths, strict=True)])
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, values=values, bounds=bounds, is_visible=shown)
    partial.replace(path)
    return LipFeatures(values, bounds, shown, tower.feature_channels)


def _load(path: Path, widths: tuple[int, ...]) -> LipFeatures:
    with np.load(path) as arrays:
        return LipFeatures(arrays["values"], arrays["bounds"], arrays["is_visible"], widths)


def _rendered(
    clip: CachedClip, n_frames: int, renderings: Renderings, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    yield crops_of(Window(clip, 0), n_frames)
    for _ in range(1, renderings.n):
        yield augmented(clip.crops[:n_frames], rng, renderings.augmentation)


@torch.no_grad()
def _encode(tower: VisualTower, crops: NDArray[np.uint8], with_mirror: bool) -> NDArray[np.float16]:
    """`[variants, V, H, W]` to `[variants, V, D]`."""
    tower.eval()
    pictures = torch.from_numpy(crops).to(next(tower.parameters()).device)
    features = tower.with_mirror(pictures) if with_mirror else tower(pictures)
    return torch.cat(features, 2).float().cpu().numpy().astype(np.float16)


def features_between(
    features: NDArray[np.float16], places: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Features `[V, D]` at fractional frames, interpolated linearly."""
    low = np.floor(places).astype(int)
    share = (places - low).astype(np.float32)[:, None]
    high = np.minimum(low + 1, len(features) - 1)
    between: NDArray[np.float32] = features[low] * (1 - share) + features[high] * share
    return between


def with_noise(
    features: NDArray[np.float32], strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Features `[V, D]` with noise of `strength` standard deviations of each over the window."""
    if not strength:
        return features
    noise = rng.standard_normal(features.shape, np.float32)
    noisy: NDArray[np.float32] = features + strength * features.std(0) * noise
    return noisy


def mixed_up(
    features: NDArray[np.float32],
    spread: NDArray[np.float32],
    strength: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Features `[V, D]` with something of every other in each, the same for the whole window.

    `x + strength (x - mean) / s M s` with `M` of normal numbers with variance `1 / D`.

    Args:
        features: Of a window.
        spread: `[D]`, `s`: how far each feature goes in all clips.
        strength: 0 leaves them as they are; at 1 as much is added as there was.
        rng: Draws `M`.
    """
    if not strength:
        return features
    n_features = features.shape[1]
    mixing = rng.standard_normal((n_features, n_features), np.float32) / n_features**0.5
    moving = (features - features.mean(0)) / spread.clip(1e-4)
    mixed: NDArray[np.float32] = features + strength * (moving @ mixing) * spread
    return mixed
