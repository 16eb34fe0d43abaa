"""Training of the network that tells whether lips are to be seen: `avse train mouth-clarity`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from avse.training.cache import CachedClip, load_cached
from avse.training.crop_augmentation import CropAugmentation, augmented
from avse.training.manifest import read_clips
from avse.training.mouth_covers import Crop, bearded, beside, covered, darkened, elsewhere
from avse.training.mouth_faces import FacePatches, load_face_patches
from avse.training.run_folder import RunFolder, code_version
from models.mouth_clarity import MouthClarityConfig, MouthClarityNet
from models.weights import BundleSpec, save_bundle
from preprocessing.mouth import CropConfig
from preprocessing.mouth_geometry import face_pose, turned_about, warp_affine
from preprocessing.types import Progress, no_progress

BUNDLE_NAME = "mouth-clarity"
VARIED = CropAugmentation(blur_px=6.0, cover_share=0.0, slow_share=0.0)
DARK, DIM = (0.01, 0.07), (0.15, 0.5)
"""Share of the light that hides lips, and that leaves them, beside a camera's noise."""


@dataclass(frozen=True, slots=True)
class MouthClarityTraining:
    """Settings of one run.

    Attributes:
        model: The network.
        n_steps: Optimiser steps.
        batch_size: Crops a step, half of which show lips.
        learning_rate: Peak of the cosine.
        picture_share: Mouths from single labelled pictures beside those of clips.
        seed: Of weights and crops.
        save_every: Steps between checkpoints and log lines.
    """

    model: MouthClarityConfig = field(default_factory=MouthClarityConfig)
    n_steps: int = 3000
    batch_size: int = 64
    learning_rate: float = 2e-3
    picture_share: float = 0.4
    seed: int = 1
    save_every: int = 100


@dataclass(frozen=True, slots=True)
class MouthPictures:
    """Where the examples come from.

    Attributes:
        clips: Cached clips; their visible crops show lips.
        crops: Mouth crops `[122, 122]` of labelled pictures.
        scenes: Pictures `[H, W]` of anything around faces.
    """

    clips: Sequence[CachedClip]
    crops: Sequence[Crop]
    scenes: Sequence[Crop]


def train_mouth_clarity(
    data_dir: Path,
    work_dir: Path,
    config: MouthClarityTraining = MouthClarityTraining(),
    progress: Progress = no_progress,
) -> BundleSpec:
    """Train (or go on) on the cached crops in `work_dir / "crops"`, write `work_dir / "bundles"`.

    Raises:
        ManifestError: The folder holds no clips.
        FileNotFoundError: It holds no labelled faces, or no crops are cached.
    """
    train, valid = (read_pictures(data_dir, work_dir, split) for split in ("train", "valid"))
    torch.manual_seed(config.seed)
    net = MouthClarityNet(config.model)
    run = RunFolder(work_dir / BUNDLE_NAME)
    run.describe(config, config.seed)
    optimiser = torch.optim.AdamW(net.parameters(), config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.n_steps, pct_start=0.1
    )
    parts: dict[str, Any] = {"model": net, "optimiser": optimiser, "schedule": schedule}
    _go_on(run, parts)
    for step in range(schedule.last_epoch + 1, config.n_steps + 1):
        crops, shows_lips = examples(
            train, config, np.random.default_rng((config.seed, step)), config.batch_size
        )
        loss = F.binary_cross_entropy_with_logits(net.train()(crops), shows_lips)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        progress("mouth clarity", step, config.n_steps)
        if step % config.save_every == 0:
            run.record(step=step, loss=round(loss.item(), 4), **clarity_figures(net, valid, config))
            states = {name: part.state_dict() for name, part in parts.items()}
            run.save(states | {"random": torch.get_rng_state()})
    scores = {"valid": clarity_figures(net, valid, config)}
    return _export(net, work_dir, config, scores)


def _go_on(run: RunFolder, parts: Mapping[str, Any]) -> None:
    """From where the run stood, random numbers too."""
    kept = run.load()
    if kept is not None:
        torch.set_rng_state(kept.pop("random"))
        for name, state in kept.items():
            parts[name].load_state_dict(state)


def read_pictures(data_dir: Path, work_dir: Path, split: str) -> MouthPictures:
    """Crops and pictures of a split.

    Raises:
        FileNotFoundError: There are no labelled faces, or no crops are cached.
    """
    entries = [entry for entry in read_clips(data_dir) if entry.split == split]
    clips = [c for c in load_cached(work_dir / "crops", entries) if c.is_visible.any()]
    if not clips:
        raise FileNotFoundError(f"{work_dir / 'crops'}: expected crops of {split}, found none")
    faces = load_face_patches(data_dir, work_dir / "face_patches.npz")
    faces = faces.select(faces.is_valid == (split == "valid"))
    return MouthPictures(clips, mouth_crops(faces), list(faces.patches))


def mouth_crops(faces: FacePatches) -> list[Crop]:
    """Mouth crops of labelled pictures, framed as `MouthCropper` frames them."""
    config = CropConfig()
    crops = []
    for patch, points in zip(faces.patches, faces.points, strict=True):
        x, y, log_eyes, angle = face_pose(points)
        matrix = turned_about(np.array([x, y]), angle)
        matrix *= config.size_px / (config.width_eye_distances * np.exp(log_eyes))
        matrix[:, 2] += config.size_px / 2
        crops.append(warp_affine(patch, matrix, config.size_px))
    return crops


def examples(
    source: MouthPictures, config: MouthClarityTraining, rng: np.random.Generator, n_items: int
) -> tuple[Tensor, Tensor]:
    """Crops `[B, 112, 112]` uint8, and for each 1 or 0: every other one shows lips."""
    crops = []
    for index in range(n_items):
        crop = augmented(_mouth(source, config, rng)[None], rng, VARIED)[0]
        make = _clear if index % 2 == 0 else _unclear
        crops.append(make(crop, source.scenes, rng))
    shows_lips = torch.tensor([float(index % 2 == 0) for index in range(n_items)])
    return torch.from_numpy(np.stack(crops)), shows_lips


def _mouth(source: MouthPictures, config: MouthClarityTraining, rng: np.random.Generator) -> Crop:
    """A crop `[122, 122]` with lips."""
    if source.crops and rng.random() < config.picture_share:
        return source.crops[int(rng.integers(len(source.crops)))]
    clip = source.clips[int(rng.integers(len(source.clips)))]
    shown = np.flatnonzero(clip.is_visible)
    crop: Crop = clip.crops[int(rng.choice(shown))]
    return crop


def _clear(crop: Crop, scenes: Sequence[Crop], rng: np.random.Generator) -> Crop:
    """Lips, at times in a beard, with something beside them, or in dim light."""
    if rng.random() < 0.2:
        crop = bearded(crop, rng)
    if rng.random() < 0.25:
        crop = beside(crop, scenes, rng)
    if rng.random() < 0.2:
        crop = darkened(crop, rng.uniform(*DIM), rng.uniform(0, 4), rng)
    return crop


def _unclear(crop: Crop, scenes: Sequence[Crop], rng: np.random.Generator) -> Crop:
    """A thing before the lips, another place altogether, or the dark."""
    draw = rng.random()
    if draw < 0.2:
        return darkened(crop, rng.uniform(*DARK), rng.uniform(3, 6), rng)
    if draw < 0.35:
        crop = elsewhere(scenes[int(rng.integers(len(scenes)))], crop.shape[0], rng)
        return covered(crop, scenes, rng) if rng.random() < 0.3 else crop
    crop = covered(crop, scenes, rng)
    if rng.random() < 0.2:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 3)), np.uint8)
    return crop


@torch.no_grad()
def clarity_figures(
    net: MouthClarityNet, source: MouthPictures, config: MouthClarityTraining
) -> dict[str, float]:
    """Share of clear and of unclear mouths that are taken for what they are, on 1,024 crops."""
    crops, shows_lips = examples(source, config, np.random.default_rng(7), 1024)
    found = net.eval()(crops) > 0
    is_clear = shows_lips > 0
    return {
        "clear": round(float(found[is_clear].float().mean()), 4),
        "unclear": round(float((~found[~is_clear]).float().mean()), 4),
    }


def _export(
    net: MouthClarityNet, work_dir: Path, config: MouthClarityTraining, scores: dict[str, Any]
) -> BundleSpec:
    card = {
        "command": "avse train mouth-clarity --data DIR --work DIR",
        "commit": code_version(),
        "seed": config.seed,
        "terms": "non-commercial research (the terms of the training recordings)",
        "scores": scores,
    }
    spec = BundleSpec(BUNDLE_NAME, "mouth_clarity", "mouth_clarity", asdict(config.model), {}, card)
    return save_bundle(work_dir / "bundles" / BUNDLE_NAME, spec, net)
