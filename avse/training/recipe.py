"""The whole recipe of the enhancer, from a folder of clips to bundles; reads top to bottom."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from avse.training.cache import CachedClip, cache_clips, load_cached
from avse.training.compute import Compute, Precision, resolve_compute
from avse.training.faceless_lips import FacelessLips
from avse.training.features import LipFeatures, lip_features
from avse.training.fusion import FusionConfig, FusionTrainer, load_lips
from avse.training.lip_predictor import guess_faceless_lips
from avse.training.lip_timing import delays_of, in_time, lips_in_time
from avse.training.lips import LipsConfig, LipsStart, match_figures, train_lips
from avse.training.manifest import ClipEntry, read_clips, read_sounds
from avse.training.mixtures import MixtureMaker
from avse.training.run_folder import RunFolder, code_version
from avse.training.sounds import Voice, VoicePool, load_sounds
from avse.training.validation import ValidationItem, ValidationSet, validation_set
from models.avse_net import AvseNet
from models.lip_sync import LipSync
from models.registry import open_bundle
from models.weights import BundleSpec, save_bundle
from preprocessing.spectral import StftConfig
from preprocessing.types import Progress, no_progress

SYSTEMS: dict[str, dict[str, str]] = {
    "avse-mmtm": {"fusion": "mmtm", "squeeze": "frame"},
    "avse-mmtm-clip": {"fusion": "mmtm", "squeeze": "clip"},
    "avse-concat": {"fusion": "concat"},
    "avse-audio": {"fusion": "audio_only"},
}
STAGES = ("crops", "lips", "lips-in-time", "features", "enhancer", "polish")
DEFAULT_STAGES = STAGES[:5]

POLISH = FusionConfig(
    n_steps=300, batch_size=8, learning_rate=1e-4, tower_rate=0.2, validate_every=100
)
LIPS_IN_TIME = LipsConfig(n_steps=600, learning_rate=8e-4)


@dataclass(frozen=True, slots=True)
class RecipeConfig:
    """All settings of a training.

    Attributes:
        lips: Stage (b).
        lips_in_time: Its second half, on clips whose lips were put in time; the shape is that of
            the first.
        fusion: Stage (c); its model's fusion and squeeze come from `SYSTEMS`.
        n_feature_variants: Crop and flip variants whose features are cached.
        n_predictor_steps: Steps of the net that guesses lips from sound, for voices without faces.
        n_timing_rounds: How often the lips of every clip are put in time with its sound.
        n_workers: Processes that crop clips.
        n_threads: Threads of the training itself.
        device: `auto`, `cpu` or `cuda[:N]`.
        precision: `auto` takes bf16 where the hardware has units for it; or `fp32`, `bf16`.
        n_valid: Validation mixtures.
        polish: Stage (d): the end-to-end polish.
        start_from: A folder of bundles whose weights a fresh run begins with.
        joins_anew: Every system begins with the towers of `avse-mmtm` in `start_from`, and what
            joins them begins anew: so fusions can be compared.
        audio_only_bundle: The bundle that those that see name for clips without any mouth.
        terms: Under which terms the weights may be used; goes into the model card.
    """

    lips: LipsConfig = field(default_factory=LipsConfig)
    lips_in_time: LipsConfig = field(default_factory=lambda: LIPS_IN_TIME)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    n_feature_variants: int = 2
    n_predictor_steps: int = 1200
    n_timing_rounds: int = 2
    n_workers: int = 2
    n_threads: int = 2
    device: str = "auto"
    precision: Precision = "auto"
    n_valid: int = 60
    polish: FusionConfig = field(default_factory=lambda: POLISH)
    start_from: str = ""
    joins_anew: bool = False
    audio_only_bundle: str | None = None
    terms: str = "non-commercial research (the terms of the training recordings)"

    @property
    def compute(self) -> Compute:
        """Where the trainings run."""
        return resolve_compute(self.device, self.precision)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a training reads and writes.

    Attributes:
        recordings: With `av.csv` (and `audio.csv`), or a VoxCeleb2-like tree.
        work: Caches, logs and checkpoints; a second call goes on where the first stopped.
        bundles: Where bundles land.
    """

    recordings: Path
    work: Path
    bundles: Path


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
    if set(stages) & {"features", "enhancer", "polish"}:
        source = enhancer_material(folders, clips, valid, config, progress)
        for name in systems:
            if "enhancer" in stages:
                specs.append(enhancer_stage(name, source, folders, config, progress))
            if "polish" in stages:
                specs.append(polish_stage(name, source, folders, config, progress))
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


def lips_stage(
    clips: Sequence[CachedClip],
    valid: Sequence[CachedClip],
    folders: Folders,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (b): the `lip-sync` bundle."""
    run = RunFolder(folders.work / "lips")
    strangers = [c for c in valid if c.entry.split == "valid"]
    model = train_lips(clips, strangers, run, config.lips, progress, LipsStart(config.compute))
    return _export_lips(model, strangers, folders, config, config.lips)


def lips_in_time_stage(
    clips: Sequence[CachedClip],
    valid: Sequence[CachedClip],
    folders: Folders,
    config: RecipeConfig,
    progress: Progress,
) -> BundleSpec:
    """Stage (b), second half: every clip's lips are put in time, and the towers go on learning."""
    run = RunFolder(folders.work / "lips-in-time")
    first = open_lips(folders.work, config, stages=("lips",)).to(config.compute.device)
    lips = lip_features(
        clips, first.visual, run.path / "lip_features.npz", n_variants=1, progress=progress
    )
    rounds, steps = max(1, config.n_timing_rounds), config.n_predictor_steps
    delays = delays_of(run.path / "lip_delays.npy", clips, lips, rounds, steps, progress)
    mended = [in_time(clip, float(d)) for clip, d in zip(clips, delays, strict=True)]
    strangers = [c for c in valid if c.entry.split == "valid"]
    settings = config.lips_in_time
    start = LipsStart(config.compute, first.cpu())
    model = train_lips(mended, strangers, run, settings, progress, start)
    return _export_lips(model, strangers, folders, config, settings)


def _export_lips(
    model: LipSync,
    strangers: Sequence[CachedClip],
    folders: Folders,
    config: RecipeConfig,
    trained: LipsConfig,
) -> BundleSpec:
    scores = match_figures(model, strangers, trained.n_frames)
    settings = {"stft": asdict(StftConfig()), "level_rms": 0.05}
    card = _card("avse train avse --stage lips --stage lips-in-time", config, trained.seed, {})
    card["scores"] = {"valid": scores}
    spec = BundleSpec("lip-sync", "lip_sync", "lip_sync", asdict(model.config), settings, card)
    return save_bundle(folders.bundles / "lip-sync", spec, model)


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
    lips = lip_features(
        clips, model.visual, path, n_variants=config.n_feature_variants, progress=progress
    )
    rounds, steps = config.n_timing_rounds, config.n_predictor_steps
    lips = lips_in_time(folders.work / "lip_delays.npy", clips, lips, rounds, steps, progress)
    strangers = [c for c in valid if c.entry.split == "valid"]
    elsewhere = [c for c in valid if c.entry.split == "elsewhere"]
    checks: list[ValidationItem] = []
    for name, group in (("valid", strangers), ("elsewhere", elsewhere)):
        if group:
            path = folders.work / f"lip_features_{name}.npz"
            seen = lip_features(group, model.visual, path, n_variants=1)
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


def open_lips(
    work_dir: Path, config: RecipeConfig, stages: Sequence[str] = ("lips-in-time", "lips")
) -> LipSync:
    """The towers of stage (b), from its last checkpoint or from the bundle to start from.

    Raises:
        FileNotFoundError: Stage (b) has not run in this work folder.
    """
    folders = (work_dir / name for name in stages)
    states = (RunFolder(folder).load() for folder in folders if folder.is_dir())
    state = next((state for state in states if state is not None), None)
    if state is None and config.start_from:
        return cast("LipSync", open_bundle(Path(config.start_from) / "lip-sync")[1])
    if state is None:
        raise FileNotFoundError(f"{work_dir}: expected the checkpoint of stage lips, found none")
    visual = replace(config.lips.model.visual, **state["pixels"])
    model = LipSync(replace(config.lips.model, visual=visual))
    model.load_state_dict(state["model"], strict=True)
    return model.eval()


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


def fusion_config(name: str, lip_sync: LipSync, config: RecipeConfig) -> FusionConfig:
    """Stage (c)'s config for one of `SYSTEMS`, with the lip tower that was trained.

    A system that sees nothing is spared the mixtures whose target only lips can tell.
    """
    model = config.fusion.model
    settings: dict[str, Any] = {**SYSTEMS[name], "visual": lip_sync.config.visual}
    if model.n_lip_embedding:
        settings["n_lip_embedding"] = lip_sync.config.n_embedding
        settings["audio_widths"] = lip_sync.config.audio_widths
    if settings["fusion"] == "audio_only":
        settings["listens_again"] = False
    fusion = replace(config.fusion, model=replace(model, **settings))
    if settings["fusion"] != "audio_only":
        return fusion
    mix = replace(fusion.mix, silent_share=0.0, stray_share=0.0, hidden_share=0.0)
    return replace(fusion, mix=mix)


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
    card = _card(command, config, config.fusion.seed, {}) | {"n_steps": n_steps}
    model_config = asdict(net.config)
    spec = BundleSpec(name, "enhancement", "avse_net", model_config, settings, card)
    return save_bundle(folders.bundles / name, spec, net)


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
