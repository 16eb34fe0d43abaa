"""Stage (b): the lip tower learns by contrast which sound belongs to which moment."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from avse.training.cache import CachedClip
from avse.training.compute import CPU, Compute
from avse.training.crop_augmentation import CROP_PX, CropAugmentation, Crops, augmented
from avse.training.run_folder import RunFolder
from avse.training.sounds import random_equaliser, random_room, stretched
from models.lip_sync import LipSync, LipSyncConfig
from preprocessing.spectral import StftConfig, log_mel, stft
from preprocessing.timeline import SAMPLES_PER_VIDEO_FRAME
from preprocessing.types import Progress, no_progress


@dataclass(frozen=True, slots=True)
class LipsConfig:
    """Recipe of the contrastive stage.

    Attributes:
        model: The two towers.
        n_steps: Optimiser steps.
        n_people: People in a batch.
        n_clips: Clips of each person.
        n_windows: Windows of each clip.
        n_frames: Pictures in a window, cut out before it is encoded: otherwise padding gives the
            pairing away.
        big_speaker_share: Share of the batch for the speaker with the most clips.
        learning_rate: Peak of the one-cycle schedule.
        noise_share: Share of windows whose sound is disturbed by another one of the batch.
        noise_db: How far the other one lies below.
        room_share: Share of windows whose sound is put in a made-up room.
        tempo: Windows play this much faster or slower at most, lips and sound alike.
        augmentation: Of the crops.
        seed: For weights, batches and augmentation.
        log_every: Steps between log lines.
        save_every: Steps between checkpoints.
    """

    model: LipSyncConfig = field(default_factory=LipSyncConfig)
    n_steps: int = 1300
    n_people: int = 4
    n_clips: int = 5
    n_windows: int = 2
    n_frames: int = 16
    big_speaker_share: float = 0.25
    learning_rate: float = 1.5e-3
    noise_share: float = 0.4
    noise_db: tuple[float, float] = (0.0, 20.0)
    room_share: float = 0.15
    tempo: float = 0.12
    augmentation: CropAugmentation = field(default_factory=CropAugmentation)
    seed: int = 1
    log_every: int = 20
    save_every: int = 100


@dataclass(frozen=True, slots=True)
class LipsStart:
    """Where a training computes, and the towers that a fresh one begins with (and their shape)."""

    compute: Compute = CPU
    towers: LipSync | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Which stretch of which clip."""

    clip: CachedClip
    start_frame: int


def train_lips(
    clips: Sequence[CachedClip],
    valid: Sequence[CachedClip],
    run: RunFolder,
    config: LipsConfig,
    progress: Progress = no_progress,
    start: LipsStart = LipsStart(),
) -> LipSync:
    """Train (or go on training) the two towers; the run folder keeps log and checkpoint."""
    run.describe(config, config.seed)
    torch.manual_seed(config.seed)
    compute, towers = start.compute, start.towers
    shape = towers.config if towers else with_pixel_statistics(config.model, clips)
    model = LipSync(shape).to(compute.device)
    if towers:
        model.load_state_dict(towers.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, config.n_steps, pct_start=0.15
    )
    first_step = _resume(run, model, optimiser, schedule)
    sampler = WindowSampler(clips, config)
    for step in range(first_step, config.n_steps):
        rng = np.random.default_rng((config.seed, step))
        loss, accuracy = _step(model, sampler.batch(rng), config, rng, compute)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        progress("lips", step + 1, config.n_steps)
        if (step + 1) % config.log_every == 0:
            run.record(step=step + 1, loss=round(loss.item(), 4), accuracy=round(accuracy, 4))
        if (step + 1) % config.save_every == 0 or step + 1 == config.n_steps:
            run.save(_state(step + 1, model, optimiser, schedule))
        if valid and ((step + 1) % 350 == 0 or step + 1 == config.n_steps):
            run.record(step=step + 1, **match_figures(model, valid, config.n_frames))
    return model.cpu().eval()


def with_pixel_statistics(config: LipSyncConfig, clips: Sequence[CachedClip]) -> LipSyncConfig:
    """The config with the mean and deviation of the training crops' centres."""
    edge = (clips[0].crops.shape[1] - CROP_PX) // 2
    sample = np.concatenate(
        [c.crops[::10, edge : edge + CROP_PX, edge : edge + CROP_PX].ravel()[::7] for c in clips]
    )
    mean, std = round(float(sample.mean()), 2), round(float(sample.std()), 2)
    return replace(config, visual=replace(config.visual, pixel_mean=mean, pixel_std=std))


class WindowSampler:
    """Draws people, clips of each, windows of each clip: hard negatives come by themselves."""

    def __init__(self, clips: Sequence[CachedClip], config: LipsConfig) -> None:
        """Index the clips that are long enough by speaker."""
        self.config = config
        self.by_speaker: dict[str, list[CachedClip]] = defaultdict(list)
        for clip in clips:
            if n_usable(clip) >= config.n_frames and clip.is_visible.mean() > 0.9:
                self.by_speaker[f"{clip.entry.corpus}/{clip.entry.speaker}"].append(clip)
        if not self.by_speaker:
            raise ValueError(f"no clip holds {config.n_frames} visible frames")
        self.biggest = max(self.by_speaker, key=lambda s: len(self.by_speaker[s]))
        self.others = sorted(set(self.by_speaker) - {self.biggest}) or [self.biggest]

    def batch(self, rng: np.random.Generator) -> list[Window]:
        """`n_people * n_clips * n_windows` windows."""
        n_big = round(self.config.n_people * self.config.big_speaker_share)
        n_rest = self.config.n_people - n_big
        people = [self.biggest] * n_big
        people += list(rng.choice(self.others, n_rest, replace=n_rest > len(self.others)))
        return [w for person in people for w in self._of_person(person, rng)]

    def _of_person(self, person: str, rng: np.random.Generator) -> list[Window]:
        clips = self.by_speaker[person]
        replace = len(clips) < self.config.n_clips
        chosen = rng.choice(len(clips), self.config.n_clips, replace=replace)
        return [w for index in chosen for w in self._of_clip(clips[index], rng)]

    def _of_clip(self, clip: CachedClip, rng: np.random.Generator) -> list[Window]:
        """Windows spread over the clip, so that two of them are not nearly the same."""
        room = n_usable(clip) - self.config.n_frames
        bounds = np.linspace(0, room, 2 * self.config.n_windows)
        pairs = bounds.reshape(-1, 2)
        return [Window(clip, round(rng.uniform(low, high))) for low, high in pairs]


def n_usable(clip: CachedClip) -> int:
    """Video frames that have both a crop and whole sound."""
    return min(len(clip.crops), len(clip.samples) // SAMPLES_PER_VIDEO_FRAME)


def crops_of(window: Window, n_frames: int) -> Crops:
    """The centres `[n_frames, 112, 112]` of the crops."""
    stretch = window.clip.crops[window.start_frame : window.start_frame + n_frames]
    edge = (stretch.shape[1] - CROP_PX) // 2
    return stretch[:, edge : edge + CROP_PX, edge : edge + CROP_PX]


def varied(
    window: Window, config: LipsConfig, rng: np.random.Generator
) -> tuple[Crops, NDArray[np.float32]]:
    """Crops `[V, 112, 112]` and samples `[V * 640]` as another recording might have them."""
    n_frames = config.n_frames
    room = n_usable(window.clip) - window.start_frame
    n_taken = min(room, round(n_frames * (1 + rng.uniform(-config.tempo, config.tempo))))
    places = np.round(np.linspace(0, n_taken - 1, n_frames)).astype(int) + window.start_frame
    crops = augmented(window.clip.crops[places], rng, config.augmentation)
    samples = stretched(sound_of(window, n_taken), n_frames * SAMPLES_PER_VIDEO_FRAME)
    if rng.random() < config.room_share:
        samples = random_room(samples, rng)
    return crops, random_equaliser(samples, rng, 4.0)


def sound_of(window: Window, n_frames: int) -> NDArray[np.float32]:
    """The window's samples, `[n_frames * 640]`."""
    start = window.start_frame * SAMPLES_PER_VIDEO_FRAME
    return window.clip.samples[start : start + n_frames * SAMPLES_PER_VIDEO_FRAME]


def sound_features(samples: Tensor) -> Tensor:
    """Log-mel `[B, T, M]` of sound `[B, L]` brought to the standard level."""
    rms = samples.square().mean(1, keepdim=True).sqrt().clamp_min(1e-4)
    config = StftConfig()
    return log_mel(stft(samples * (0.05 / rms), config).abs(), config)


def _step(
    model: LipSync,
    windows: Sequence[Window],
    config: LipsConfig,
    rng: np.random.Generator,
    compute: Compute,
) -> tuple[Tensor, float]:
    model.train()
    pairs = [varied(window, config, rng) for window in windows]
    pictures = torch.from_numpy(np.stack([crops for crops, _ in pairs])).to(compute.device)
    sounds = _disturbed(np.stack([sound for _, sound in pairs]), config, rng)
    loudness = sound_features(torch.from_numpy(sounds).to(compute.device))
    with compute.autocast():
        seen, heard = model.embed_video(pictures), model.embed_audio(loudness)
    return contrast(seen.float(), heard.float(), model.log_temperature)


def contrast(seen: Tensor, heard: Tensor, log_temperature: Tensor) -> tuple[Tensor, float]:
    """InfoNCE over the mean frame-by-frame cosine of all pairs of windows, both ways."""
    similarity = torch.einsum("avd,bvd->ab", seen, heard) / seen.shape[1]
    logits = similarity * log_temperature.exp().clamp(max=60)
    truth = torch.arange(len(logits), device=logits.device)
    loss = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
    accuracy = (logits.argmax(1) == truth).float().mean().item()
    return loss, accuracy


def _disturbed(
    sounds: NDArray[np.float32], config: LipsConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add another window's sound, at a level of its own, to a share of the windows."""
    other = sounds[rng.permutation(len(sounds))]
    gain = 10 ** (-rng.uniform(*config.noise_db, (len(sounds), 1)) / 20)
    gain *= rng.random((len(sounds), 1)) < config.noise_share
    own = np.sqrt(np.mean(sounds**2, 1, keepdims=True) + 1e-9)
    foreign = np.sqrt(np.mean(other**2, 1, keepdims=True) + 1e-9)
    mixed: NDArray[np.float32] = (sounds + other * gain * own / foreign).astype(np.float32)
    return mixed


@torch.no_grad()
def match_figures(model: LipSync, clips: Sequence[CachedClip], n_frames: int) -> dict[str, float]:
    """How often the right sound wins over one of another clip of the person, and over a shift.

    Returns:
        `own_clip`: right clip over every other clip of the same person (mean over pairs);
        `in_sync`: right moment over the same clip's sound 7 frames off.
    """
    model.eval()
    usable = [c for c in clips if n_usable(c) >= n_frames + 7 and c.is_visible.mean() > 0.9]
    if not usable:
        return {}
    seen, heard, late = [], [], []
    for start in range(0, len(usable), 32):
        windows = [Window(c, 0) for c in usable[start : start + 32]]
        seen.append(_embed_crops(model, windows, n_frames))
        heard.append(_embed_sound(model, windows, n_frames))
        shifted = [Window(w.clip, 7) for w in windows]
        late.append(_embed_sound(model, shifted, n_frames))
    mouths, sounds, lates = torch.cat(seen), torch.cat(heard), torch.cat(late)
    similarity = torch.einsum("avd,bvd->ab", mouths, sounds) / n_frames
    right = similarity.diagonal()
    shifted_right = (mouths * lates).sum(2).mean(1)
    speakers = np.array([c.entry.speaker for c in usable])
    same = torch.from_numpy(speakers[:, None] == speakers[None]).fill_diagonal_(False)
    wins = (right[:, None] > similarity)[same]
    return {
        "own_clip": round(wins.float().mean().item(), 4),
        "in_sync": round((right > shifted_right).float().mean().item(), 4),
        "n_clips": len(usable),
    }


def _embed_crops(model: LipSync, windows: Sequence[Window], n_frames: int) -> Tensor:
    crops = np.stack([crops_of(w, n_frames) for w in windows])
    device = model.log_temperature.device
    return model.embed_video(torch.from_numpy(crops).to(device)).cpu()


def _embed_sound(model: LipSync, windows: Sequence[Window], n_frames: int) -> Tensor:
    sounds = np.stack([sound_of(w, n_frames) for w in windows])
    device = model.log_temperature.device
    return model.embed_audio(sound_features(torch.from_numpy(sounds).to(device))).cpu()


def _state(
    step: int,
    model: LipSync,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
) -> dict[str, Any]:
    return {
        "step": step,
        "config": asdict(model.config),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
    }


def _resume(
    run: RunFolder,
    model: LipSync,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
) -> int:
    state = run.load()
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])
