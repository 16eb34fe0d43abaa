"""A hidden mouth: nothing, a learned embedding, or lips filled in from priors by the sound."""

import copy
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avse.errors import ConfigError
from avse.evaluation.hidden_mouth import by_depth, compare, hidden_items, ways_to_see
from avse.training.batch import Batch
from avse.training.cache import CachedClip, cache_path, load_cached
from avse.training.features import LipFeatures, lip_features
from avse.training.losses import compressed_l1, negative_si_sdr
from avse.training.manifest import ClipEntry, read_clips, read_sounds
from avse.training.mix_config import MixConfig
from avse.training.mixtures import MixtureMaker
from avse.training.run_folder import code_version
from avse.training.sounds import Voice, VoicePool, load_sounds
from models.avse_net import AvseNet
from models.mouth_prior import MouthPrior, MouthPriorConfig
from models.smil import cluster_centres
from models.weights import BundleSpec, save_bundle
from preprocessing.spectral import istft, log_mel, stft
from preprocessing.types import Progress, no_progress

log = logging.getLogger(__name__)

HIDDEN_MIX = MixConfig(pair_share=0.0, hidden_share=0.7, half_hidden_share=0.3)


@dataclass(frozen=True, slots=True)
class MouthPriorTraining:
    """Recipe.

    Attributes:
        model: The module; `n_features` follows the lip tower.
        mix: Mixtures, all with a hidden mouth, for a part or throughout.
        n_steps: Optimiser steps, of the prior and of the embedding it is compared with.
        batch_size: Windows in a step.
        learning_rate: Of AdamW; falls to zero along a cosine.
        reconstruction_weight: Of the error of the filled-in features, in their own deviations.
        n_frames_for_priors: Frames that are clustered.
        n_valid: Clips to judge on.
        seed: Of everything.
    """

    model: MouthPriorConfig = field(default_factory=MouthPriorConfig)
    mix: MixConfig = HIDDEN_MIX
    n_steps: int = 300
    batch_size: int = 8
    learning_rate: float = 2e-3
    reconstruction_weight: float = 0.02
    n_frames_for_priors: int = 6000
    n_valid: int = 40
    seed: int = 0


def priors_of(lips: LipFeatures, config: MouthPriorTraining) -> tuple[Tensor, Tensor]:
    """The mean mouth `[D]` and the centres `[K, D]` of how lips leave their clip's mean."""
    n_clips = len(lips.bounds) - 1
    whole = [i for i in range(n_clips) if len(lips.of(i)) and lips.visible(i).all()]
    means = {i: lips.of(i).astype(np.float32).mean(0) for i in whole}
    moved = np.concatenate([lips.of(i).astype(np.float32) - means[i] for i in whole])
    rng = np.random.default_rng(config.seed)
    n_taken = min(len(moved), config.n_frames_for_priors)
    sample = torch.from_numpy(moved[rng.permutation(len(moved))[:n_taken]])
    scale = sample.std(0) + 1e-4
    generator = torch.Generator().manual_seed(config.seed)
    centres = cluster_centres(sample / scale, config.model.n_priors, generator, n_rounds=20)
    return torch.from_numpy(np.mean(list(means.values()), 0)), centres * scale


def train_prior(
    net: AvseNet,
    lips: LipFeatures,
    mixtures: MixtureMaker,
    config: MouthPriorTraining,
    progress: Progress = no_progress,
) -> MouthPrior:
    """Learn the weights of the priors through the enhancer, which stays as it is."""
    torch.manual_seed(config.seed)
    mean, centres = priors_of(lips, config)
    prior = MouthPrior(replace(config.model, n_features=lips.values.shape[2]))
    prior.learn_priors(mean, centres)
    scale = torch.from_numpy(lips.values[0, ::7].astype(np.float32).std(0) + 1e-3)
    generator = torch.Generator().manual_seed(config.seed)

    def loss(batch: Batch) -> Tensor:
        loudness = log_mel(stft(batch.noisy).abs())
        visual = by_depth(net, batch.features)
        filled = prior.fill(loudness, visual, batch.is_visible, generator)
        hidden = (~batch.is_visible).unsqueeze(2)
        error = (_centred(torch.cat(filled, 2)) - _centred(batch.features)) / scale
        wrong = (error.square() * hidden).sum() / (hidden.sum() * error.shape[2]).clamp(min=1)
        everywhere = torch.ones_like(batch.is_visible)
        enhanced = _enhancement_loss(net, batch, filled, everywhere)
        return enhanced + config.reconstruction_weight * wrong

    _optimise("mouth prior", prior, loss, mixtures, config, progress)
    return prior.eval()


def tuned_embedding(
    net: AvseNet, mixtures: MixtureMaker, config: MouthPriorTraining, progress: Progress
) -> AvseNet:
    """The enhancer with its embedding of a hidden mouth trained on, on the same mixtures."""
    tuned = copy.deepcopy(net).requires_grad_(False)
    tuned.hidden.requires_grad_(True)

    def loss(batch: Batch) -> Tensor:
        visual = by_depth(tuned, batch.features)
        return _enhancement_loss(tuned, batch, visual, batch.is_visible)

    _optimise("embedding", tuned.hidden, loss, mixtures, config, progress)
    return tuned


@dataclass(frozen=True, slots=True)
class PriorMaterial:
    """What the comparison reads.

    Attributes:
        mixtures: Of training people, the mouth hidden.
        lips: Lip features of their clips.
        valid: Clips of people not in training.
        valid_lips: Their lip features.
        noises: Not in training either.
    """

    mixtures: MixtureMaker
    lips: LipFeatures
    valid: list[CachedClip]
    valid_lips: LipFeatures
    noises: list[NDArray[np.int16]]


def read_material(
    data_dir: Path, work_dir: Path, net: AvseNet, config: MouthPriorTraining
) -> PriorMaterial:
    """What `avse train avse` left in its run folder.

    Raises:
        FileNotFoundError: Its features are not there.
        ConfigError: They are of another lip tower than the enhancer's.
    """
    for name in ("lip_features.npz", "lip_features_valid.npz"):
        if not (work_dir / name).is_file():
            raise FileNotFoundError(
                2, "expected the features of `avse train avse`", work_dir / name
            )
    entries = read_clips(data_dir)
    clips = _without_crops(work_dir / "crops", [e for e in entries if e.split == "train"])
    lips = lip_features(clips, net.visual, work_dir / "lip_features.npz")
    valid = load_cached(work_dir / "crops", [e for e in entries if e.split == "valid"])
    valid_lips = lip_features(valid, net.visual, work_dir / "lip_features_valid.npz")
    check_tower(net, valid[0], valid_lips.of(0))
    sounds = read_sounds(data_dir)
    taught = [e for e in sounds if e.split == "train"]
    heard = load_sounds(data_dir, taught, work_dir / "sounds.npz")
    voices = [_voice(clip, index) for index, clip in enumerate(clips)]
    noises = [samples for entry, samples in heard if entry.kind == "noise"]
    mixtures = MixtureMaker(VoicePool(voices), noises, lips, None, config.mix)
    judged = [e for e in sounds if e.split == "valid" and e.kind == "noise"]
    others = load_sounds(data_dir, judged, work_dir / "noises_valid.npz")
    return PriorMaterial(mixtures, lips, valid, valid_lips, [samples for _, samples in others])


def run_comparison(
    net: AvseNet,
    material: PriorMaterial,
    out_dir: Path,
    config: MouthPriorTraining,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Train the prior and its rival, compare all ways, write `hidden_mouth.json` and a bundle."""
    net.requires_grad_(False).eval()
    prior = train_prior(net, material.lips, material.mixtures, config, progress)
    tuned = tuned_embedding(net, material.mixtures, config, progress)
    items = hidden_items(
        material.valid, material.valid_lips, material.noises, config.n_valid, config.seed
    )
    ways = ways_to_see(net, tuned, prior)
    table = compare(ways, items, "learned embedding", progress)
    out_dir.mkdir(parents=True, exist_ok=True)
    card = {"commit": code_version(), "settings": asdict(config), "scores": table}
    text = json.dumps(card, indent=1) + "\n"
    (out_dir / "hidden_mouth.json").write_text(text, encoding="utf-8")
    spec = BundleSpec("mouth-prior", "mouth_prior", "mouth_prior", asdict(prior.config), {}, card)
    save_bundle(out_dir / "mouth-prior", spec, prior)
    return table


def check_tower(net: AvseNet, clip: CachedClip, features: NDArray[np.float16]) -> None:
    """Make sure that cached features are those of this enhancer's lip tower.

    Raises:
        ConfigError: They are of another tower.
    """
    edge = (clip.crops.shape[1] - 112) // 2
    crops = clip.crops[: len(features), edge : edge + 112, edge : edge + 112]
    with torch.no_grad():
        own = torch.cat(net.eval().encode_visual(torch.from_numpy(crops)[None]), 2)[0].numpy()
    if own.shape != features.shape or np.abs(own - features).max() > 0.05 * np.abs(own).max():
        raise ConfigError("lip features: expected those of the enhancer's tower, found others")


def _optimise(
    stage: str,
    learned: nn.Module,
    loss: Callable[[Batch], Tensor],
    mixtures: MixtureMaker,
    config: MouthPriorTraining,
    progress: Progress,
) -> None:
    optimiser = torch.optim.AdamW(learned.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.n_steps)
    learned.train()
    for step in range(config.n_steps):
        rng = np.random.default_rng((config.seed, step))
        value = loss(mixtures.batch(config.batch_size, 2, rng))
        optimiser.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        progress(stage, step + 1, config.n_steps)
        if step % 50 == 0:
            log.info("%s: step %d, loss %.4f", stage, step, value.item())


def _enhancement_loss(
    net: AvseNet, batch: Batch, visual: list[Tensor], is_visible: Tensor
) -> Tensor:
    noisy, clean = stft(batch.noisy), stft(batch.clean)
    magnitude = noisy.abs()
    mask = net.mask(log_mel(magnitude), magnitude, visual, is_visible)
    enhanced = istft(mask * noisy, batch.noisy.shape[1])
    waveform = negative_si_sdr(enhanced, batch.clean).mean()
    return compressed_l1(mask * magnitude, clean.abs()) + 0.006 * waveform


def _without_crops(cache_dir: Path, entries: Sequence[ClipEntry]) -> list[CachedClip]:
    """Cached clips whose pictures stay on disk; their features are known."""
    clips = []
    for entry in entries:
        path = cache_path(cache_dir, entry.path)
        if path.is_file():
            with np.load(path) as arrays:
                samples = arrays["samples"].astype(np.float32) / 32767
                nothing = np.zeros((0, 0, 0), np.uint8)
                clips.append(CachedClip(entry, nothing, arrays["is_visible"], samples))
    return clips


def _voice(clip: CachedClip, index: int) -> Voice:
    samples = np.round(clip.samples * 32767).astype(np.int16)
    return Voice(f"{clip.entry.corpus}/{clip.entry.speaker}", clip.entry.corpus, samples, index)


def _centred(features: Tensor) -> Tensor:
    return features - features.mean(1, keepdim=True)
