"""Stage (b) of the recipe: the lips/sound towers, on clips as filmed and then on clips in time."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from avse.training.cache import CachedClip
from avse.training.features import lip_features
from avse.training.lip_timing import delays_of, in_time
from avse.training.lips import LipsConfig, LipsStart, match_figures, train_lips
from avse.training.recipe_config import Folders, RecipeConfig, card
from avse.training.run_folder import RunFolder
from models.lip_sync import LipSync, LipSyncConfig
from models.registry import open_bundle
from models.weights import BundleSpec, save_bundle
from preprocessing.spectral import StftConfig
from preprocessing.types import Progress


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
    lips = lip_features(clips, first.visual, run.path / "lip_features.npz", progress=progress)
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
    stages = "--stage lips" if trained is config.lips else "--stage lips --stage lips-in-time"
    facts = card(f"avse train avse {stages}", config, trained.seed, {"valid": scores})
    spec = BundleSpec("lip-sync", "lip_sync", "lip_sync", asdict(model.config), settings, facts)
    return save_bundle(folders.bundles / "lip-sync", spec, model)


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
    model = LipSync(LipSyncConfig(**state["config"]))
    model.load_state_dict(state["model"], strict=True)
    return model.eval()
