"""What the frozen stem of I3D says about every clip, several variants each, kept on disk.

The stem takes nine tenths of the work and never changes, so it runs once; trainings read its
features as half floats from memory-mapped files. A second call goes on where the first stopped.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avse.errors import ConfigError
from avse.training.heads.recordings import FPS, ActionRecordings
from avse.training.heads.windows import (
    PLAIN,
    Variation,
    VariationConfig,
    WindowSpec,
    at_rate,
    depth_window,
    flow_window,
)
from preprocessing.types import Progress, no_progress

WINDOWS: dict[str, Callable[[NDArray[np.uint8], WindowSpec, Variation], NDArray[np.float32]]] = {
    "depth": depth_window,
    "flow": flow_window,
}


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """What is cached.

    Attributes:
        window: How clips become windows.
        variation: How training variants differ from the clip.
        n_variants: Of each training clip, the plain one counted; test clips have that one only.
        stages: After which stages of I3D features are kept, shallow to deep.
        seed: Of the variations.
        batch_size: Clips that pass the stem together.
    """

    window: WindowSpec = field(default_factory=WindowSpec)
    variation: VariationConfig = field(default_factory=VariationConfig)
    n_variants: int = 2
    stages: tuple[str, ...] = ("4c", "4f")
    seed: int = 0
    batch_size: int = 4

    def variation_of(self, clip_index: int, variant: int) -> Variation:
        """The same for every stream: variant 0 is the clip as it is."""
        if variant == 0:
            return PLAIN
        return self.variation.draw(np.random.default_rng([self.seed, variant, clip_index]))


class Stem(Protocol):
    """The lower stages of a stream's tower."""

    def run(self, x: Tensor, after: str | None, last: str) -> Tensor:
        """Features after the stage `last`, from those after `after` (None: pictures)."""
        ...


class FeatureStore:
    """Files `<stream>_<stage>_<variant>.npy`, `[n_clips, C, T, H, W]` float16."""

    def __init__(self, folder: Path) -> None:
        """Look at a folder; nothing is read yet."""
        self.folder = folder
        self._open: dict[str, NDArray[np.float16]] = {}

    def read(
        self, stream: str, stage: str, variants: Sequence[int], clips: Sequence[int]
    ) -> Tensor:
        """Features `[B, C, T, H, W]` float32 of one variant of each clip.

        Raises:
            FileNotFoundError: Nothing of that stream, stage and variant was cached.
        """
        rows = [
            self._array(stream, stage, variant)[clip]
            for variant, clip in zip(variants, clips, strict=True)
        ]
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def done(self, stream: str, variant: int, n_clips: int) -> NDArray[np.uint8]:
        """Which clips are cached, 0 or 1 each; writing to it is kept on disk."""
        path = self.folder / f"{stream}_done_{variant}.npy"
        if not path.is_file():
            np.save(path, np.zeros(n_clips, np.uint8))
        flags: NDArray[np.uint8] = np.load(path, mmap_mode="r+")
        return flags

    def has(self, stream: str, variant: int, clips: Sequence[int]) -> bool:
        """Whether this variant of all these clips is there."""
        path = self.folder / f"{stream}_done_{variant}.npy"
        return path.is_file() and bool(np.load(path)[list(clips)].all())

    def write(
        self, stream: str, stage: str, variant: int, clips: Sequence[int], features: Tensor, n: int
    ) -> None:
        """Keep the features of some clips; the file has room for `n`."""
        name = f"{stream}_{stage}_{variant}"
        if name not in self._open:
            path = self.folder / f"{name}.npy"
            shape = (n, *features.shape[1:])
            self._open[name] = (
                np.load(path, mmap_mode="r+")
                if path.is_file()
                else np.lib.format.open_memmap(path, "w+", np.float16, shape)
            )
        self._open[name][list(clips)] = features.numpy().astype(np.float16)

    def _array(self, stream: str, stage: str, variant: int) -> NDArray[np.float16]:
        name = f"{stream}_{stage}_{variant}"
        if name not in self._open:
            self._open[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return self._open[name]


def cache_features(
    recordings: ActionRecordings,
    towers: Mapping[str, Stem],
    folder: Path,
    config: FeatureConfig,
    progress: Progress = no_progress,
) -> FeatureStore:
    """Run the stems over every clip that is not cached yet.

    Args:
        recordings: The corpus.
        towers: A stem by stream name; only the stages up to the last of `config.stages` run.
        folder: Of the cache.
        config: What is cached.
        progress: Called as (stage, done, total).

    Raises:
        ConfigError: The folder was filled with other settings.
        MediaError: A clip cannot be read.
    """
    _claim_folder(folder, config)
    store = FeatureStore(folder)
    for variant in range(config.n_variants):
        clips = [i for i, c in enumerate(recordings.clips) if c.is_train]
        if variant == 0:
            clips += [i for i, c in enumerate(recordings.clips) if not c.is_train]
        for stream, tower in towers.items():
            flags = store.done(stream, variant, len(recordings.clips))
            missing = [i for i in clips if not flags[i]]
            for first in range(0, len(missing), config.batch_size):
                batch = missing[first : first + config.batch_size]
                windows = _windows(recordings, stream, batch, variant, config)
                for stage, features in _stem(tower, windows, config.stages).items():
                    store.write(stream, stage, variant, batch, features, len(flags))
                flags[batch] = 1
                progress(f"{stream} {variant}", len(clips) - len(missing) + first, len(clips))
    return store


def _windows(
    recordings: ActionRecordings,
    stream: str,
    clips: Sequence[int],
    variant: int,
    config: FeatureConfig,
) -> Tensor:
    windows = []
    for index in clips:
        frames = at_rate(recordings.depth(recordings.clips[index]), FPS, config.window.fps)
        variation = config.variation_of(index, variant)
        windows.append(WINDOWS[stream](frames, config.window, variation))
    # Channels last: the path on which convolutions and poolings of a CPU are fast.
    return torch.from_numpy(np.stack(windows)).to(memory_format=torch.channels_last_3d)


@torch.inference_mode()
def _stem(tower: Stem, windows: Tensor, stages: Sequence[str]) -> dict[str, Tensor]:
    features: dict[str, Tensor] = {}
    after: str | None = None
    x = windows
    for stage in stages:
        x = tower.run(x, after, stage)
        features[stage], after = x, stage
    return features


def _claim_folder(folder: Path, config: FeatureConfig) -> None:
    """Write down what the folder holds, or check that it holds what is wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = json.loads(json.dumps(asdict(config)))
    wanted = {key: wanted[key] for key in ("window", "variation", "stages", "seed")}
    path = folder / "features.json"
    if not path.is_file():
        path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != wanted:
        raise ConfigError(f"{folder}: expected features of {wanted}, found those of {found}")
