"""Spoken and handwritten digits on disk, and spoken ones as pictures of their sound."""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from avse.training.manifest import ManifestError

SAMPLE_RATE_HZ = 8000
WINDOW_SAMPLES = 512
HOP_SAMPLES = 256
N_MELS = 32
N_FRAMES = 32
FLOOR = 1e-2

WRITTEN = "handwritten_digits.npz"
SPOKEN = "spoken_digits_8k.npz"


@dataclass(frozen=True, slots=True)
class DigitCorpus:
    """Everything there is to pair.

    Attributes:
        train_images: `[N, 28, 28]` uint8.
        train_labels: `[N]` 0..9.
        test_images: `[M, 28, 28]` uint8, by other writers.
        test_labels: `[M]`.
        sounds: `[R, 1, 32, 32]` float32, see `log_mel_picture`.
        digits: `[R]` which digit is said.
        speakers: `[R]` by whom.
        indices: `[R]` which of the speaker's recordings of that digit it is, from 0.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    sounds: NDArray[np.float32]
    digits: NDArray[np.int64]
    speakers: NDArray[np.str_]
    indices: NDArray[np.int64]


def read_digits(data_dir: Path) -> DigitCorpus:
    """Read both files, in the folder itself or in its folder `avdigits`.

    Raises:
        ManifestError: A file or an array is missing, or lengths disagree.
    """
    folder = data_dir if (data_dir / SPOKEN).is_file() else data_dir / "avdigits"
    written = _arrays(folder / WRITTEN, "train_images train_labels test_images test_labels")
    spoken = _arrays(folder / SPOKEN, "samples offsets digit speaker index")
    offsets = spoken["offsets"]
    if len(offsets) != len(spoken["digit"]) + 1:
        raise ManifestError(f"{folder / SPOKEN}: expected one offset more than digits")
    samples = torch.from_numpy(spoken["samples"].astype(np.float32) / 32768)
    pictures = [log_mel_picture(samples[first:last]) for first, last in pairwise(offsets)]
    return DigitCorpus(
        written["train_images"],
        written["train_labels"].astype(np.int64),
        written["test_images"],
        written["test_labels"].astype(np.int64),
        torch.stack(pictures).unsqueeze(1).numpy(),
        spoken["digit"].astype(np.int64),
        spoken["speaker"],
        spoken["index"].astype(np.int64),
    )


def log_mel_picture(samples: Tensor) -> Tensor:
    """About a second of sound as `[32 mels, 32 frames]`, zero mean and unit deviation.

    The loudest stretch of a longer recording is taken; a shorter one is followed by silence. Level
    does not matter.

    Args:
        samples: `[L]`, 8 kHz.
    """
    wanted = N_FRAMES * HOP_SAMPLES
    if len(samples) > wanted:
        energy = F.pad(samples.square().cumsum(0), (1, 0))
        start = int((energy[wanted:] - energy[:-wanted]).argmax())
        samples = samples[start : start + wanted]
    samples = samples / samples.square().mean().sqrt().clamp_min(1e-6)
    edge = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
    padded = F.pad(samples, (edge, wanted - len(samples) + edge))
    frames = padded.unfold(0, WINDOW_SAMPLES, HOP_SAMPLES) * torch.hann_window(WINDOW_SAMPLES)
    mel = torch.fft.rfft(frames).abs() @ _mel_matrix()  # [frames, mels]
    picture = torch.log(mel / WINDOW_SAMPLES + FLOOR).T
    return (picture - picture.mean()) / picture.std().clamp_min(1e-3)


@lru_cache(maxsize=1)
def _mel_matrix() -> Tensor:
    n_bins = WINDOW_SAMPLES // 2 + 1
    matrix: Tensor = melscale_fbanks(n_bins, 0.0, SAMPLE_RATE_HZ / 2, N_MELS, SAMPLE_RATE_HZ)
    return matrix


def _arrays(path: Path, names: str) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ManifestError(f"{path}: expected the digits' arrays, found no file")
    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in names.split() if name not in arrays]
        if missing:
            raise ManifestError(f"{path}: expected arrays {names}, found none of {missing}")
        return {name: arrays[name] for name in names.split()}
