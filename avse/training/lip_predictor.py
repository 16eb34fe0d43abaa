"""Voices without faces: lip features predicted from sound, so that every voice can be a target."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from avse.training.cache import CachedClip
from avse.training.faceless_lips import FacelessLips
from avse.training.features import LipFeatures
from avse.training.lips import sound_features
from avse.training.run_folder import RunFolder
from avse.training.sounds import Voice, random_equaliser
from models.sound_tower import SoundEncoder, TimeBlock
from preprocessing.timeline import SAMPLES_PER_VIDEO_FRAME
from preprocessing.types import Progress, no_progress

N_FRAMES = 25


class LipPredictor(nn.Module):
    """Log-mel `[B, 4V, M]` to standardised lip features `[B, V, D]`."""

    def __init__(self, n_features: int, n_mels: int = 80) -> None:
        """A small encoder, two blocks over time, one linear map."""
        super().__init__()
        widths = (16, 32, 48, 64)
        self.encoder = SoundEncoder(widths)
        self.into = nn.Conv1d(widths[-1] * (n_mels // 16), 192, 1)
        self.blocks = nn.Sequential(TimeBlock(192, 1), TimeBlock(192, 2), nn.Dropout(0.3))
        self.out_of = nn.Conv1d(192, n_features, 1)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Predict; see the class."""
        x, _ = self.encoder(rearrange(log_mel, "b t m -> b 1 t m"))
        x = self.into(rearrange(x, "b c v m -> b (c m) v"))
        features: Tensor = rearrange(self.out_of(self.blocks(x)), "b d v -> b v d")
        return features


@dataclass(frozen=True, slots=True)
class LipGuess:
    """A trained predictor with what it leaves unexplained.

    Attributes:
        net: The predictor.
        mean: `[D]` of the real features.
        std: `[D]` of the real features.
        residuals: Real minus predicted, standardised, `[V, D]` each, of people it never saw.
        explained: Share of their variance that the prediction explains.
    """

    net: LipPredictor
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    residuals: tuple[NDArray[np.float32], ...]
    explained: float

    @torch.no_grad()
    def features(self, samples: NDArray[np.float32]) -> NDArray[np.float16]:
        """Predicted features `[V, D]` of a voice (without residual), real scale."""
        n_frames = len(samples) // SAMPLES_PER_VIDEO_FRAME
        sound = torch.from_numpy(samples[: n_frames * SAMPLES_PER_VIDEO_FRAME])[None]
        predicted = self.net(sound_features(sound))[0].numpy()
        features: NDArray[np.float16] = (predicted * self.std + self.mean).astype(np.float16)
        return features


def train_lip_predictor(
    clips: Sequence[CachedClip],
    features: LipFeatures,
    *,
    n_steps: int = 1200,
    seed: int = 1,
    progress: Progress = no_progress,
) -> LipGuess:
    """Learn sound -> lips on most people; keep the residuals of the others.

    Residuals of people in training are several times too small.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held_out = _held_out_speakers(clips, rng)
    learned = [i for i, c in enumerate(clips) if c.entry.speaker not in held_out]
    learned = [i for i in learned if len(features.of(i)) >= N_FRAMES]
    kept = [i for i, c in enumerate(clips) if c.entry.speaker in held_out]
    sample = features.values[0, ::7].astype(np.float32)
    mean, std = sample.mean(0), sample.std(0) + 1e-3
    net = LipPredictor(features.values.shape[2])
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, n_steps)
    for step in range(n_steps):
        chosen = rng.choice(learned, 24)
        sounds, wanted = _batch(clips, features, chosen, rng)
        standard = (wanted - torch.from_numpy(mean)) / torch.from_numpy(std)
        loss = (net(sound_features(sounds)) - standard).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress("sound to lips", step + 1, n_steps)
    net.eval()
    return _with_residuals(LipGuess(net, mean, std, (), 0.0), clips, features, kept)


def _held_out_speakers(clips: Sequence[CachedClip], rng: np.random.Generator) -> set[str]:
    speakers = sorted({c.entry.speaker for c in clips})
    counts = {s: sum(c.entry.speaker == s for c in clips) for s in speakers}
    rare = [s for s in speakers if counts[s] <= np.median(list(counts.values())) * 2]
    return set(rng.choice(rare, max(1, len(speakers) // 6), replace=False))


def _batch(
    clips: Sequence[CachedClip],
    features: LipFeatures,
    chosen: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    sounds, wanted = [], []
    for index in chosen:
        real = features.of(int(index))
        start = int(rng.integers(0, len(real) - N_FRAMES + 1))
        first = start * SAMPLES_PER_VIDEO_FRAME
        sound = clips[index].samples[first : first + N_FRAMES * SAMPLES_PER_VIDEO_FRAME]
        sounds.append(random_equaliser(sound, rng, 4.0))
        wanted.append(real[start : start + N_FRAMES].astype(np.float32))
    return torch.from_numpy(np.stack(sounds)), torch.from_numpy(np.stack(wanted))


def _with_residuals(
    guess: LipGuess, clips: Sequence[CachedClip], features: LipFeatures, kept: Sequence[int]
) -> LipGuess:
    residuals, before = [], []
    for index in kept:
        real = features.of(index).astype(np.float32)
        predicted = guess.features(clips[index].samples).astype(np.float32)[: len(real)]
        residuals.append((real - predicted) / guess.std)
        before.append((real - guess.mean) / guess.std)
    unexplained = np.concatenate(residuals).var(0).mean() / np.concatenate(before).var(0).mean()
    return LipGuess(
        guess.net, guess.mean, guess.std, tuple(residuals), round(float(1 - unexplained), 4)
    )


def guess_faceless_lips(
    kept: Path,
    clips: Sequence[CachedClip],
    lips: LipFeatures,
    voices: Sequence[Voice],
    n_steps: int,
    progress: Progress,
) -> None:
    """Predict the lip features of every voice without a face, and keep them on disk."""
    lonely = [i for i, v in enumerate(voices) if v.clip_index < 0]
    if not lonely:
        FacelessLips({}, (), np.zeros(lips.values.shape[2], np.float32)).save(kept)
        return
    guess = train_lip_predictor(clips, lips, n_steps=n_steps, progress=progress)
    RunFolder(kept.parent / "lips").record(sound_to_lips_explained=guess.explained)
    sounds = {i: (voices[i].samples / 32767).astype(np.float32) for i in lonely}
    predicted = {i: guess.features(samples) for i, samples in sounds.items()}
    FacelessLips(predicted, guess.residuals, guess.std).save(kept)
