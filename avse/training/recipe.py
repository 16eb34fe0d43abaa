"""The whole recipe of the enhancer, from a folder of clips to bundles; reads top to bottom."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avse.training.cache import CachedClip, cache_clips, load_cached
from avse.training.features import LipFeatures, lip_features
from avse.training.fusion import FusionConfig, FusionTrainer, load_tower
from avse.training.lip_predictor import train_lip_predictor
from avse.training.lips import LipsConfig, match_figures, train_lips
from avse.training.manifest import ClipEntry, read_clips, read_sounds
from avse.training.mixtures import FacelessLips, MixtureMaker
from avse.training.run_folder import RunFolder, code_version
from avse.training.sounds import Voice, VoicePool, load_sounds
from avse.training.validation import ValidationSet, validation_set
from models.avse_net import AvseNet
from models.lip_sync import LipSync
from models.weights import BundleSpec, save_bundle
from preprocessing.spectral import StftConfig
from preprocessing.types import Progress, no_progress

SYSTEMS: dict[str, dict[str, str]] = {
    "avse-mmtm": {"fusion": "mmtm", "squeeze": "frame"},
    "avse-mmtm-clip": {"fusion": "mmtm", "squeeze": "clip"},
    "avse-concat": {"fusion": "concat"},
    "avse-audio": {"fusion": "audio_only"},
}
STAGES = ("crops", "lips", "features", "enhancer")


@dataclass(frozen=True, slots=True)
class RecipeConfig:
    """All settings of a training.

    Attributes:
        lips: Stage (b).
        fusion: Stage (c); its model's fusion and squeeze come from `SYSTEMS`.
        n_feature_variants: Crop and flip variants whose features are cached.
        n_workers: Processes that crop clips.
        n_threads: Threads of the training itself.
        n_valid: Validation mixtures.
        terms: Under which terms the weights may be used; goes into the model card.
    """

    lips: LipsConfig = field(default_factory=LipsConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    n_feature_variants: int = 3
    n_workers: int = 2
    n_threads: int = 2
    n_valid: int = 60
    terms: str = "non-commercial research (the terms of the training recordings)"


def train_avse(
    data_dir: Path,
    work_dir: Path,
    bundles_dir: Path,
    *,
    config: RecipeConfig | None = None,
    systems: Sequence[str] = ("avse-mmtm",),
    stages: Sequence[str] = STAGES,
    progress: Progress = no_progress,
) -> list[BundleSpec]:
    """Train on a data folder and write one bundle a system (and `lip-sync`).

    Args:
        data_dir: With `av.csv` (and `audio.csv`), or a VoxCeleb2-like tree.
        work_dir: Caches, logs and checkpoints; a second call goes on where the first stopped.
        bundles_dir: Where bundles land.
        config: Settings; the defaults are those of the shipped weights.
        systems: Keys of `SYSTEMS`.
        stages: Which of `STAGES` to run; what an earlier stage left is read from `work_dir`.
        progress: Called as (stage, done, total).

    Raises:
        ManifestError: The folder holds no clips.
    """
    config = config or RecipeConfig()
    torch.set_num_threads(config.n_threads)
    entries = read_clips(data_dir)
    if "crops" in stages:
        crop_all(data_dir, work_dir, entries, config, progress)
    clips = load_cached(work_dir / "crops", _of_split(entries, "train"))
    valid = load_cached(work_dir / "crops", _of_split(entries, "valid", "elsewhere"))
    specs = []
    if "lips" in stages:
        specs.append(lips_stage(clips, valid, work_dir, bundles_dir, config, progress))
    if {"features", "enhancer"} & set(stages):
        source = enhancer_material(data_dir, work_dir, clips, valid, config, progress)
        if "enhancer" in stages:
            specs += [
                enhancer_stage(name, source, work_dir, bundles_dir, config, progress)
                for name in systems
            ]
    return specs


def crop_all(
    data_dir: Path,
    work_dir: Path,
    entries: Sequence[ClipEntry],
    config: RecipeConfig,
    progress: Progress,
) -> None:
    """Stage (a): crops and sound of every clip; what failed is listed in its `log.jsonl`."""
    failures = cache_clips(
        data_dir, work_dir / "crops", entries, n_workers=config.n_workers, progress=progress
    )
    for path, reason in failures.items():
        RunFolder(work_dir / "crops").record(path=path, reason=reason)


def lips_stage(
    clips: Sequence[CachedClip],
    valid: Sequence[CachedClip],
    work_dir: Path,
    bundles_dir: Path,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (b): the `lip-sync` bundle."""
    run = RunFolder(work_dir / "lips")
    strangers = [c for c in valid if c.entry.split == "valid"]
    model = train_lips(clips, strangers, run, config.lips, progress)
    scores = match_figures(model, strangers, config.lips.n_frames)
    settings = {"stft": asdict(StftConfig()), "level_rms": 0.05}
    card = _card("avse train lips", config, config.lips.seed, {"valid": scores})
    spec = BundleSpec("lip-sync", "lip_sync", "lip_sync", asdict(model.config), settings, card)
    return save_bundle(bundles_dir / "lip-sync", spec, model)


@dataclass(frozen=True, slots=True)
class EnhancerMaterial:
    """Everything stage (c) reads: computed once, the same for every system."""

    lip_sync: LipSync
    lips: LipFeatures
    pool: VoicePool
    noises: Sequence[NDArray[np.int16]]
    faceless: FacelessLips | None
    valid: ValidationSet


def enhancer_material(
    data_dir: Path,
    work_dir: Path,
    clips: Sequence[CachedClip],
    valid: Sequence[CachedClip],
    config: RecipeConfig,
    progress: Progress,
) -> EnhancerMaterial:
    """Lip features of all clips, voices and noises, and lips for the voices without faces."""
    model = open_lips(work_dir, config)
    path = work_dir / "lip_features.npz"
    lips = lip_features(
        clips, model.visual, path, n_variants=config.n_feature_variants, progress=progress
    )
    strangers = [c for c in valid if c.entry.split == "valid"]
    elsewhere = [c for c in valid if c.entry.split == "elsewhere"]
    checks: list[Any] = []
    for name, group in (("valid", strangers), ("elsewhere", elsewhere)):
        if group:
            kept = work_dir / f"lip_features_{name}.npz"
            seen = lip_features(group, model.visual, kept, n_variants=1)
            checks += validation_set(group, seen, config.n_valid, 1, is_clean=name == "elsewhere")
    entries = [e for e in read_sounds(data_dir) if e.split == "train"]
    sounds = load_sounds(data_dir, entries, progress)
    voices = [_voice_of_clip(c, i) for i, c in enumerate(clips)]
    voices += [Voice(f"{e.corpus}/{e.label}", e.corpus, s) for e, s in sounds if e.kind == "speech"]
    noises = [samples for e, samples in sounds if e.kind == "noise"]
    faceless = faceless_lips(work_dir, clips, lips, voices, progress)
    return EnhancerMaterial(model, lips, VoicePool(voices), noises, faceless, checks)


def open_lips(work_dir: Path, config: RecipeConfig) -> LipSync:
    """The towers of stage (b), from its checkpoint.

    Raises:
        FileNotFoundError: Stage (b) has not run in this work folder.
    """
    run = RunFolder(work_dir / "lips")
    state = run.load()
    if state is None:
        raise FileNotFoundError(f"{run.path}: expected the checkpoint of stage lips, found none")
    visual = replace(config.lips.model.visual, **state["pixels"])
    model = LipSync(replace(config.lips.model, visual=visual))
    model.load_state_dict(state["model"], strict=True)
    return model.eval()


def faceless_lips(
    work_dir: Path,
    clips: Sequence[CachedClip],
    lips: LipFeatures,
    voices: Sequence[Voice],
    progress: Progress,
) -> FacelessLips | None:
    """Predicted lip features for every voice without a face; None where there are none."""
    lonely = [i for i, v in enumerate(voices) if v.clip_index < 0]
    if not lonely:
        return None
    guess = train_lip_predictor(clips, lips, progress=progress)
    RunFolder(work_dir / "lips").record(sound_to_lips_explained=guess.explained)
    predicted = {}
    for n_done, index in enumerate(lonely, 1):
        predicted[index] = guess.features((voices[index].samples / 32767).astype(np.float32))
        progress("lips of voices", n_done, len(lonely))
    return FacelessLips(predicted, guess.residuals, guess.std)


def enhancer_stage(
    name: str,
    source: EnhancerMaterial,
    work_dir: Path,
    bundles_dir: Path,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (c) for one system: train (or go on), then write its bundle."""
    fusion = fusion_config(name, source.lip_sync, config)
    mixtures = MixtureMaker(source.pool, source.noises, source.lips, source.faceless, fusion.mix)
    trainer = FusionTrainer(fusion, RunFolder(work_dir / name))
    net = trainer.train(mixtures, source.valid, progress)
    return export(name, net, source.lip_sync, bundles_dir, config, trainer.step)


def fusion_config(name: str, lip_sync: LipSync, config: RecipeConfig) -> FusionConfig:
    """Stage (c)'s config for one of `SYSTEMS`, with the lip tower that was trained."""
    settings: dict[str, Any] = {**SYSTEMS[name], "visual": lip_sync.config.visual}
    return replace(config.fusion, model=replace(config.fusion.model, **settings))


def export(
    name: str,
    net: AvseNet,
    lip_sync: LipSync,
    bundles_dir: Path,
    config: RecipeConfig,
    n_steps: int,
) -> BundleSpec:
    """Join tower and fusion into one bundle."""
    load_tower(net, lip_sync.visual.state_dict())
    settings = {
        "stft": asdict(StftConfig()),
        "level_rms": config.fusion.mix.level_rms,
        "crop_px": 112,
        "chunk": {"window_frames": 3 * 116, "hop_frames": 2 * 116},
    }
    command = f"avse train avse --systems {name}"
    card = _card(command, config, config.fusion.seed, {}) | {"n_steps": n_steps}
    model_config = asdict(net.config)
    spec = BundleSpec(name, "enhancement", "avse_net", model_config, settings, card)
    return save_bundle(bundles_dir / name, spec, net)


def n_parameters(module: nn.Module) -> int:
    """Parameters of a network."""
    return sum(p.numel() for p in module.parameters())


def _card(command: str, config: RecipeConfig, seed: int, scores: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": f"{command} --data DIR",
        "commit": code_version(),
        "seed": seed,
        "terms": config.terms,
        "scores": scores,
    }


def _voice_of_clip(clip: CachedClip, index: int) -> Voice:
    samples = np.round(clip.samples * 32767).astype(np.int16)
    return Voice(f"{clip.entry.corpus}/{clip.entry.speaker}", clip.entry.corpus, samples, index)


def _of_split(entries: Sequence[ClipEntry], *splits: str) -> list[ClipEntry]:
    return [e for e in entries if e.split in splits]
