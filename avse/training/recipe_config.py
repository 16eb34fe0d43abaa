"""Settings and folders of the enhancer's recipe."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avse.training.compute import Compute, Precision, resolve_compute
from avse.training.crop_augmentation import MILD, CropAugmentation
from avse.training.fusion import FusionConfig
from avse.training.lips import LipsConfig
from avse.training.phase import PhaseConfig
from avse.training.run_folder import code_version
from models.lip_sync import LipSync

SYSTEMS: dict[str, dict[str, str]] = {
    "avse-mmtm": {"fusion": "mmtm", "squeeze": "frame"},
    "avse-mmtm-clip": {"fusion": "mmtm", "squeeze": "clip"},
    "avse-concat": {"fusion": "concat"},
    "avse-audio": {"fusion": "audio_only"},
}
STAGES = ("crops", "lips", "lips-in-time", "features", "enhancer", "polish", "phase")
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
        feature_augmentation: How all but the first of them are varied.
        n_predictor_steps: Steps of the net that guesses lips from sound, for voices without faces.
        n_timing_rounds: How often the lips of every clip are put in time with its sound.
        n_workers: Processes that crop clips.
        n_threads: Threads of the training itself.
        device: `auto`, `cpu` or `cuda[:N]`.
        precision: `auto` takes bf16 where the hardware has units for it; or `fp32`, `bf16`.
        n_valid: Validation mixtures.
        polish: Stage (d): the end-to-end polish.
        phase: Stage (e): the voice's own phase in the lowest bins.
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
    feature_augmentation: CropAugmentation = MILD
    n_predictor_steps: int = 1200
    n_timing_rounds: int = 2
    n_workers: int = 2
    n_threads: int = 2
    device: str = "auto"
    precision: Precision = "auto"
    n_valid: int = 60
    polish: FusionConfig = field(default_factory=lambda: POLISH)
    phase: PhaseConfig = field(default_factory=PhaseConfig)
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
        settings |= {"listens_again": False, "trust": (0.0, 0.0)}
    fusion = replace(config.fusion, model=replace(model, **settings))
    if settings["fusion"] != "audio_only":
        return fusion
    mix = replace(fusion.mix, silent_share=0.0, stray_share=0.0, hidden_share=0.0)
    return replace(fusion, mix=mix)


def card(command: str, config: RecipeConfig, seed: int, scores: dict[str, Any]) -> dict[str, Any]:
    """What every bundle's card begins with."""
    return {
        "command": f"{command} --data DIR",
        "commit": code_version(),
        "seed": seed,
        "terms": config.terms,
        "scores": scores,
    }
