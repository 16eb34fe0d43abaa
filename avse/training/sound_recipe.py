"""From a folder of recordings to the bundle that hears only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avse.training.compute import Precision, resolve_compute
from avse.training.manifest import ManifestError, SoundEntry, read_clips, read_sounds
from avse.training.noisy_speech import NoisySpeech
from avse.training.run_folder import RunFolder, code_version
from avse.training.sound_only import SoundConfig, SoundPair, SoundTrainer, validate_sound
from avse.training.sounds import Voice, VoicePool, excerpt, level, load_sounds, voiced_excerpt
from models.registry import open_bundle
from models.sound_net import SoundNet
from models.weights import BundleSpec, save_bundle
from preprocessing.spectral import StftConfig
from preprocessing.timeline import SAMPLE_RATE_HZ
from preprocessing.types import Progress, no_progress

BUNDLE_NAME = "avse-sound"
FRAME_SAMPLES = 320
VALID_SNR_DB = (2.5, 7.5, 12.5, 17.5)
VALID_S = 3.0


@dataclass(frozen=True, slots=True)
class SoundRecipe:
    """All settings.

    Attributes:
        sound: Network, mixtures and steps.
        least_range_db: Voices whose loud and quiet frames (95th and 5th percentile) lie closer
            together have a noise of their own, and would teach to keep it: they are left out.
        people_power: As in `VoicePool`.
        n_valid: Validation mixtures.
        start_from: A folder of bundles with whose `avse-sound` a fresh run begins.
        n_threads: Threads of the training.
        device: `auto`, `cpu` or `cuda[:N]`.
        precision: As in `resolve_compute`.
        terms: Under which terms the weights may be used; goes into the model card.
    """

    sound: SoundConfig = field(default_factory=SoundConfig)
    least_range_db: float = 32.0
    people_power: float = 1.0
    n_valid: int = 40
    start_from: str = ""
    n_threads: int = 2
    device: str = "auto"
    precision: Precision = "auto"
    terms: str = "non-commercial research (the terms of the training recordings)"


def train_sound(
    data_dir: Path,
    work_dir: Path,
    recipe: SoundRecipe = SoundRecipe(),
    progress: Progress = no_progress,
) -> BundleSpec:
    """Train (or go on) and write the bundle to `work_dir / "bundles"`.

    Raises:
        ManifestError: There are no voices or no noises to train on.
    """
    torch.set_num_threads(recipe.n_threads)
    work_dir.mkdir(parents=True, exist_ok=True)
    voices, noises = _sounds(data_dir, work_dir, "train", recipe, progress)
    strangers, other_noises = _sounds(data_dir, work_dir, "valid", recipe, progress)
    if not voices or not noises:
        found = f"{len(voices)} voices and {len(noises)} noises"
        raise ManifestError(f"{data_dir}: expected clean voices and noises, found {found}")
    mixtures = NoisySpeech(VoicePool(voices, recipe.people_power), noises, recipe.sound.mix)
    valid = _valid_pairs(strangers, other_noises, recipe.n_valid)
    compute = resolve_compute(recipe.device, recipe.precision)
    trainer = SoundTrainer(recipe.sound, RunFolder(work_dir / BUNDLE_NAME), compute)
    if recipe.start_from:
        trainer.start_from(open_bundle(Path(recipe.start_from) / BUNDLE_NAME)[1].state_dict())
    net = trainer.train(mixtures, valid, progress)
    scores = {"valid": validate_sound(net, valid)} if valid else {}
    return _export(net, work_dir, recipe, scores)


def _sounds(
    data_dir: Path, work_dir: Path, split: str, recipe: SoundRecipe, progress: Progress
) -> tuple[list[Voice], list[NDArray[np.int16]]]:
    """Clean voices, those of the clips too, and noises of a split."""
    clips = [
        SoundEntry(c.path, "speech", c.split, c.corpus, c.speaker) for c in read_clips(data_dir)
    ]
    entries = [e for e in [*read_sounds(data_dir), *clips] if e.split == split]
    sounds = load_sounds(data_dir, entries, work_dir / f"sounds_{split}.npz", progress)
    voices = [
        Voice(f"{entry.corpus}/{entry.label}", entry.corpus, samples)
        for entry, samples in sounds
        if entry.kind == "speech" and loudness_range_db(samples) >= recipe.least_range_db
    ]
    return voices, [samples for entry, samples in sounds if entry.kind == "noise"]


def loudness_range_db(samples: NDArray[np.int16]) -> float:
    """Between the 5th and the 95th percentile of the levels of 20 ms; 0 for less than a second."""
    if len(samples) < SAMPLE_RATE_HZ:
        return 0.0
    n_frames = len(samples) // FRAME_SAMPLES
    frames = samples[: n_frames * FRAME_SAMPLES].reshape(n_frames, FRAME_SAMPLES) / 32767
    level_db = 10 * np.log10(np.square(frames, dtype=np.float32).mean(1) + 1e-10)
    return float(np.subtract(*np.percentile(level_db, [95, 5])))


def _valid_pairs(
    voices: Sequence[Voice], noises: Sequence[NDArray[np.int16]], n_pairs: int
) -> list[SoundPair]:
    """Voices and noises of the split `valid`, at the four levels in turn."""
    if not voices or not noises:
        return []
    rng = np.random.default_rng(1)
    n_samples = round(VALID_S * SAMPLE_RATE_HZ)
    pairs = []
    for index in range(n_pairs):
        clean = voiced_excerpt(voices[int(rng.integers(len(voices)))].samples, n_samples, rng)
        noise = excerpt(noises[int(rng.integers(len(noises)))], n_samples, rng)
        snr_db = VALID_SNR_DB[index % len(VALID_SNR_DB)]
        noisy = clean + noise * (level(clean) / max(level(noise), 1e-4) * 10 ** (-snr_db / 20))
        scale = 0.05 / level(noisy)
        pairs.append(
            SoundPair((noisy * scale).astype(np.float32), (clean * scale).astype(np.float32))
        )
    return pairs


def _export(
    net: SoundNet, work_dir: Path, recipe: SoundRecipe, scores: dict[str, dict[str, float]]
) -> BundleSpec:
    settings = {
        "stft": asdict(StftConfig()),
        "level_rms": recipe.sound.mix.level_rms,
        "chunk": {"window_frames": 600, "hop_frames": 500},
    }
    card = {
        "command": "avse train sound --data DIR",
        "commit": code_version(),
        "seed": recipe.sound.seed,
        "terms": recipe.terms,
        "scores": scores,
        "n_steps": recipe.sound.n_steps,
    }
    spec = BundleSpec(BUNDLE_NAME, "enhancement", "sound_net", asdict(net.config), settings, card)
    return save_bundle(work_dir / "bundles" / BUNDLE_NAME, spec, net)
