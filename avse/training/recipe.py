"""The whole recipe of the enhancer, from a folder of clips to bundles; reads top to bottom."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avse.training.cache import CachedClip, cache_clips, load_cached
from avse.training.faceless_lips import FacelessLips
from avse.training.features import LipFeatures, Renderings, lip_features
from avse.training.fusion import FusionTrainer, has_lips, load_lips
from avse.training.lip_predictor import guess_faceless_lips
from avse.training.lip_timing import lips_in_time
from avse.training.lips_recipe import lips_in_time_stage, lips_stage, open_lips
from avse.training.manifest import ClipEntry, read_clips, read_sounds
from avse.training.mixtures import MixtureMaker
from avse.training.phase import PhaseTrainer
from avse.training.recipe_config import (
    DEFAULT_STAGES,
    Folders,
    RecipeConfig,
    card,
    fusion_config,
)
from avse.training.run_folder import RunFolder
from avse.training.sounds import Voice, VoicePool, load_sounds
from avse.training.validation import ValidationItem, ValidationSet, validation_set
from models.avse_net import AvseNet
from models.lip_sync import LipSync
from models.registry import open_bundle
from models.weights import BundleSpec, save_bundle
from preprocessing.spectral import StftConfig
from preprocessing.types import Progress, no_progress


def train_avse(
    folders: Folders,
    *,
    config: RecipeConfig | None = None,
    systems: Sequence[str] = ("avse-mmtm",),
    stages: Sequence[str] = DEFAULT_STAGES,
    progress: Progress = no_progress,
) -> list[BundleSpec]:
    """Train on a data folder and write one bundle a system (and `lip-sync`).

    Args:
        folders: Where to read and write.
        config: Settings; the defaults are those of the shipped weights.
        systems: Keys of `SYSTEMS`.
        stages: Which of `STAGES` to run; what an earlier one left is read from `folders.work`.
        progress: Called as (stage, done, total).

    Raises:
        ManifestError: The folder holds no clips.
    """
    config = config or RecipeConfig()
    torch.set_num_threads(config.n_threads)
    entries = read_clips(folders.recordings)
    if "crops" in stages:
        crop_all(folders, entries, config, progress)
    clips = load_cached(folders.work / "crops", _of_split(entries, "train"))
    valid = load_cached(folders.work / "crops", _of_split(entries, "valid", "elsewhere"))
    specs = []
    if "lips" in stages:
        specs.append(lips_stage(clips, valid, folders, config, progress))
    if "lips-in-time" in stages:
        specs.append(lips_in_time_stage(clips, valid, folders, config, progress))
    if set(stages) & {"features", "enhancer", "polish", "phase"}:
        source = enhancer_material(folders, clips, valid, config, progress)
        for name in systems:
            if "enhancer" in stages:
                specs.append(enhancer_stage(name, source, folders, config, progress))
            if "polish" in stages:
                specs.append(polish_stage(name, source, folders, config, progress))
            if "phase" in stages:
                specs.append(phase_stage(name, source, folders, config, progress))
    return specs


def crop_all(
    folders: Folders,
    entries: Sequence[ClipEntry],
    config: RecipeConfig,
    progress: Progress,
) -> None:
    """Stage (a): crops and sound of every clip; what failed is listed in its `log.jsonl`."""
    failures = cache_clips(
        folders.recordings,
        folders.work / "crops",
        entries,
        n_workers=config.n_workers,
        progress=progress,
    )
    for path, reason in failures.items():
        RunFolder(folders.work / "crops").record(path=path, reason=reason)


@dataclass(frozen=True, slots=True)
class EnhancerMaterial:
    """Everything stage (c) reads: computed once, the same for every system."""

    clips: Sequence[CachedClip]
    lip_sync: LipSync
    lips: LipFeatures
    pool: VoicePool
    noises: Sequence[NDArray[np.int16]]
    faceless: FacelessLips
    valid: ValidationSet


def enhancer_material(
    folders: Folders,
    clips: Sequence[CachedClip],
    valid: Sequence[CachedClip],
    config: RecipeConfig,
    progress: Progress,
) -> EnhancerMaterial:
    """Lip features of all clips, voices and noises, and lips for the voices without faces."""
    model = open_lips(folders.work, config)
    model.to(config.compute.device)
    path = folders.work / "lip_features.npz"
    varied = Renderings(
        config.n_feature_variants, config.feature_augmentation, config.fusion.model.mirrors_lips
    )
    as_filmed = replace(varied, n=1)
    lips = lip_features(clips, model.visual, path, varied, config.compute, progress)
    rounds, steps = config.n_timing_rounds, config.n_predictor_steps
    lips = lips_in_time(folders.work / "lip_delays.npy", clips, lips, rounds, steps, progress)
    strangers = [c for c in valid if c.entry.split == "valid"]
    elsewhere = [c for c in valid if c.entry.split == "elsewhere"]
    checks: list[ValidationItem] = []
    for name, group in (("valid", strangers), ("elsewhere", elsewhere)):
        if group:
            path = folders.work / f"lip_features_{name}.npz"
            seen = lip_features(group, model.visual, path, as_filmed)
            checks += validation_set(group, seen, config.n_valid, 1)
    model.cpu()
    entries = [e for e in read_sounds(folders.recordings) if e.split == "train"]
    sounds = load_sounds(folders.recordings, entries, folders.work / "sounds.npz", progress)
    voices = [_voice_of_clip(c, i) for i, c in enumerate(clips)]
    voices += [Voice(f"{e.corpus}/{e.label}", e.corpus, s) for e, s in sounds if e.kind == "speech"]
    noises = [samples for e, samples in sounds if e.kind == "noise"]
    kept = folders.work / "faceless_lips.npz"
    if not kept.is_file():
        guess_faceless_lips(kept, clips, lips, voices, config.n_predictor_steps, progress)
    faceless = FacelessLips.load(kept)
    pool = VoicePool(voices, config.fusion.mix.people_power)
    return EnhancerMaterial(clips, model, lips, pool, noises, faceless, checks)


def enhancer_stage(
    name: str,
    source: EnhancerMaterial,
    folders: Folders,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (c) for one system: train (or go on), then write its bundle."""
    fusion = fusion_config(name, source.lip_sync, config)
    mixtures = MixtureMaker(source.pool, source.noises, source.lips, source.faceless, fusion.mix)
    trainer = FusionTrainer(fusion, RunFolder(folders.work / name), config.compute)
    if config.start_from:
        first = "avse-mmtm" if config.joins_anew else name
        state = open_bundle(Path(config.start_from) / first)[1].state_dict()
        trainer.start_from(state, joins_anew=config.joins_anew)
    load_lips(trainer.net, source.lip_sync)
    load_lips(trainer.ema, source.lip_sync)
    net = trainer.train(mixtures, source.valid, progress)
    return export(name, net, folders, config, trainer.step)


def polish_stage(
    name: str,
    source: EnhancerMaterial,
    folders: Folders,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (d) for one system: tower, sound and fusion together, on pictures."""
    trained = fusion_config(name, source.lip_sync, config).model
    settings = replace(config.polish, model=trained)
    mixtures = MixtureMaker(
        source.pool, source.noises, source.lips, None, settings.mix, source.clips
    )
    trainer = FusionTrainer(settings, RunFolder(folders.work / f"{name}-polish"), config.compute)
    trainer.start_from(open_bundle(folders.bundles / name)[1].state_dict())
    net = trainer.train(mixtures, source.valid, progress)
    return export(name, net, folders, config, trainer.step)


def phase_stage(
    name: str,
    source: EnhancerMaterial,
    folders: Folders,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (e) for one system: what it is, trained here or in `start_from`, gets a phase.

    It is shown cached features, or pictures where its towers were polished.
    """
    here = folders.bundles / name
    is_here = here.is_dir() or not config.start_from
    spec, trained = open_bundle(here if is_here else Path(config.start_from) / name)
    assert isinstance(trained, AvseNet)
    mix = fusion_config(name, source.lip_sync, config).mix
    is_cached = has_lips(trained, source.lip_sync)
    faceless, clips = (source.faceless, None) if is_cached else (None, source.clips)
    mixtures = MixtureMaker(source.pool, source.noises, source.lips, faceless, mix, clips)
    run = RunFolder(folders.work / f"{name}-phase")
    trainer = PhaseTrainer(config.phase, trained, run, config.compute)
    net = trainer.train(mixtures, source.valid, progress)
    own = card(f"avse train avse --stage phase --systems {name}", config, config.phase.seed, {})
    facts = spec.card | {"phase": {k: own[k] for k in ("command", "commit", "seed")}}
    facts["phase"]["n_steps"] = trainer.step
    return save_bundle(here, replace(spec, card=facts, model_config=asdict(net.config)), net)


def export(
    name: str,
    net: AvseNet,
    folders: Folders,
    config: RecipeConfig,
    n_steps: int,
) -> BundleSpec:
    """Write one system's bundle."""
    settings = {
        "stft": asdict(StftConfig()),
        "level_rms": config.fusion.mix.level_rms,
        "crop_px": 112,
        "chunk": {"window_frames": 3 * 116, "hop_frames": 2 * 116},
        "audio_only_bundle": config.audio_only_bundle if net.sees else None,
    }
    command = f"avse train avse --systems {name}"
    facts = card(command, config, config.fusion.seed, {}) | {"n_steps": n_steps}
    model_config = asdict(net.config)
    spec = BundleSpec(name, "enhancement", "avse_net", model_config, settings, facts)
    return save_bundle(folders.bundles / name, spec, net)


def _voice_of_clip(clip: CachedClip, index: int) -> Voice:
    samples = np.round(clip.samples * 32767).astype(np.int16)
    return Voice(f"{clip.entry.corpus}/{clip.entry.speaker}", clip.entry.corpus, samples, index)


def _of_split(entries: Sequence[ClipEntry], *splits: str) -> list[ClipEntry]:
    return [e for e in entries if e.split in splits]
