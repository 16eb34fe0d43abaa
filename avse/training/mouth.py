"""Training of the mouth-landmark network: `avse train mouth --data DIR`."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from avse.training.mouth_faces import (
    AugmentConfig,
    FacePatches,
    augmented_crop,
    load_face_patches,
    plain_crop,
)
from avse.training.run_folder import RunFolder, code_version
from models.mouth_landmarks import (
    N_FACE_POINTS,
    N_MOUTH_POINTS,
    MouthLandmarksConfig,
    MouthLandmarksNet,
    cell_centres,
)
from models.weights import BundleSpec, save_bundle
from preprocessing.types import Progress, no_progress

BUNDLE_NAME = "mouth-landmarks"
_MOUTH = slice(0, N_MOUTH_POINTS)


@dataclass(frozen=True, slots=True)
class MouthTrainingConfig:
    """Settings of one run.

    Attributes:
        n_steps: Optimiser steps.
        batch_size: Faces a step.
        learning_rate: Peak of the cosine schedule.
        weight_decay: Of AdamW.
        n_warmup_steps: Linear rise of the learning rate.
        ema_decay: Of the averaged weights, which are what ships.
        heat_weight: Weight of the heat maps' cross-entropy beside the points' L1.
        face_points_weight: Weight of the five face points beside a mouth point.
        n_checkpoint_steps: Steps between checkpoints and validations.
        seed: Of weights, order and augmentation.
        model: The network's shape.
        augment: Strength of the augmentation.
    """

    n_steps: int = 3000
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    n_warmup_steps: int = 100
    ema_decay: float = 0.998
    heat_weight: float = 0.05
    face_points_weight: float = 0.5
    n_checkpoint_steps: int = 500
    seed: int = 1
    model: MouthLandmarksConfig = field(default_factory=MouthLandmarksConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class MouthRun:
    """State of one training run: network, averaged network, optimiser, step."""

    def __init__(self, config: MouthTrainingConfig) -> None:
        """Start from fresh weights."""
        torch.manual_seed(config.seed)
        self.config = config
        self.step = 0
        self.net = MouthLandmarksNet(config.model).channels_last()
        self.averaged = deepcopy(self.net).eval()
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def save(self, folder: RunFolder) -> None:
        """Replace the run's checkpoint."""
        parts = ("net", "averaged", "optimizer")
        states = {name: getattr(self, name).state_dict() for name in parts}
        folder.save({"step": self.step, **states})

    def resume(self, folder: RunFolder) -> None:
        """Continue from the run's checkpoint if there is one."""
        state = folder.load()
        if state is None:
            return
        self.step = state["step"]
        for name in ("net", "averaged", "optimizer"):
            getattr(self, name).load_state_dict(state[name])

    def train_step(self, faces: Tensor, targets: Tensor) -> float:
        """One optimiser step; returns the loss.

        Args:
            faces: `[B, H, W]` uint8.
            targets: `[B, 25, 2]` crop units.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        loss = landmark_loss(self.net, faces, targets, self.config)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        averaged = self.averaged.state_dict()
        for key, value in self.net.state_dict().items():
            if value.is_floating_point():
                averaged[key].lerp_(value, 1 - decay)
            else:
                averaged[key].copy_(value)


def train_mouth_landmarks(
    data_dir: Path,
    out_dir: Path,
    config: MouthTrainingConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """Train on labelled faces and write a bundle; a second call continues where the first ended.

    Args:
        data_dir: Holds `faces/labels.json`.
        out_dir: Receives `checkpoint.pt`, `log.jsonl`, `faces.npz` and the `bundle` folder.
        config: Settings; the defaults are those of the bundle that ships.
        progress: Called as `("mouth", step, n_steps)`.

    Returns:
        Scores on people who are not in training, see `evaluate_landmarks`.

    Raises:
        FileNotFoundError: The labels or all pictures are missing.
    """
    config = config or MouthTrainingConfig()
    faces = load_face_patches(data_dir, out_dir / "faces.npz")
    folder = RunFolder(out_dir)
    folder.describe(config, config.seed)
    run = MouthRun(config)
    run.resume(folder)
    scores = _train(run, faces, folder, progress)
    save_bundle(out_dir / "bundle", _spec(config, scores, faces), run.averaged)
    return scores


def _train(
    run: MouthRun, faces: FacePatches, folder: RunFolder, progress: Progress
) -> dict[str, float]:
    config = run.config
    valid = faces.select(faces.is_valid)
    batches = _batches(faces.select(~faces.is_valid), run)
    losses: list[float] = []
    while run.step < config.n_steps:
        losses.append(run.train_step(*next(batches)))
        progress("mouth", run.step, config.n_steps)
        if run.step % config.n_checkpoint_steps == 0 or run.step == config.n_steps:
            run.save(folder)
            scores = evaluate_landmarks(run.averaged, valid)
            folder.record(step=run.step, loss=round(float(np.mean(losses)), 5), **_rounded(scores))
            losses.clear()
    return evaluate_landmarks(run.averaged, valid)


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {name: round(score, 5) for name, score in scores.items()}


def learning_rate(step: int, config: MouthTrainingConfig) -> float:
    """Linear warm-up, then a half cosine down to zero at the last step."""
    if step < config.n_warmup_steps:
        return config.learning_rate * (step + 1) / config.n_warmup_steps
    share = (step - config.n_warmup_steps) / max(1, config.n_steps - config.n_warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def landmark_loss(
    net: MouthLandmarksNet, faces: Tensor, targets: Tensor, config: MouthTrainingConfig
) -> Tensor:
    """L1 of the points (in hundredths of the crop) plus cross-entropy of the heat maps.

    Args:
        net: The network in training mode.
        faces: `[B, H, W]` uint8.
        targets: `[B, P, 2]` crop units.
        config: Weights of the parts.
    """
    points, log_heat = net.points_and_heat(faces)
    weight = torch.ones(targets.shape[1])
    weight[N_MOUTH_POINTS:] = config.face_points_weight
    distance = F.smooth_l1_loss(points, targets, reduction="none", beta=0.005).sum(-1)  # [B, P]
    n_cells = math.isqrt(log_heat.shape[-1])
    squared = (cell_centres(n_cells, targets) - targets[:, :, None]).square().sum(-1)
    wanted = torch.softmax(-0.5 * squared * n_cells**2, dim=-1)  # [B, P, cells], sigma one cell
    inside = ((targets > 0) & (targets < 1)).all(-1).float()  # [B, P]
    entropy = -(wanted * log_heat).sum(-1) * inside
    return ((100 * distance + config.heat_weight * entropy) * weight).mean()


def _batches(faces: FacePatches, run: MouthRun) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches; batch n depends on the seed and n only, so a resumed run sees the same."""
    config = run.config
    region = (config.model.face_px, config.model.box_enlargement)
    n_faces = len(faces.patches)
    while True:
        rng = np.random.default_rng((config.seed, run.step))
        chosen = rng.integers(0, n_faces, config.batch_size)
        drawn = [
            augmented_crop(faces.patches[i], faces.points[i], region, config.augment, rng)
            for i in chosen
        ]
        crops, targets = zip(*drawn, strict=True)
        yield torch.from_numpy(np.stack(crops)), torch.from_numpy(np.stack(targets))


def evaluate_landmarks(net: MouthLandmarksNet, faces: FacePatches) -> dict[str, float]:
    """Mean distance of mouth points over outer-eye distance.

    Returns:
        `error_human` against human points (pictures that have them), `error_teacher` against the
        bias-corrected teacher elsewhere, `error_human_jittered` with boxes displaced and scaled by
        up to a tenth, as another detector would give them; NaN where there is no such face.
    """
    plain = _errors(net, faces, jitter=0.0)
    jittered = _errors(net, faces, jitter=0.1)
    return {
        "error_human": _mean(plain[faces.is_human]),
        "error_teacher": _mean(plain[~faces.is_human]),
        "error_human_jittered": _mean(jittered[faces.is_human]),
    }


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _errors(net: MouthLandmarksNet, faces: FacePatches, jitter: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    errors = []
    for start in range(0, len(faces.patches), 32):
        chosen = faces.select((np.arange(len(faces.patches)) // 32) == start // 32)
        errors.append(_batch_errors(net, chosen, rng.uniform(-jitter, jitter, (32, 3))))
    return np.concatenate(errors) if errors else np.zeros(0)


def _batch_errors(
    net: MouthLandmarksNet, faces: FacePatches, jitter: NDArray[np.float64]
) -> NDArray[np.float64]:
    side_px, enlargement = net.config.face_px, net.config.box_enlargement
    drawn = [
        plain_crop(patch, side_px, (enlargement * (1 + scale), x, y))
        for patch, (scale, x, y) in zip(faces.patches, jitter, strict=False)
    ]
    with torch.inference_mode():
        found = net(torch.from_numpy(np.stack([crop for crop, _ in drawn]))).numpy()
    errors = []
    for points, reference, (_, to_units), eyes_px in zip(
        found, faces.human, drawn, faces.eyes_px, strict=True
    ):
        wanted = reference @ to_units[:, :2].T + to_units[:, 2]
        distance = np.linalg.norm(points[_MOUTH] - wanted, axis=1).mean()
        errors.append(distance / (eyes_px * to_units[0, 0]))
    return np.array(errors)


def _spec(config: MouthTrainingConfig, scores: dict[str, float], faces: FacePatches) -> BundleSpec:
    n_valid = int(faces.is_valid.sum())
    card = {
        "command": "avse train mouth --data DIR",
        "commit": code_version(),
        "training_config": asdict(config),
        "training_files": "faces/labels.json, split train: public figures on television with "
        "human-checked points, and web portraits with a teacher's points",
        "terms": "third-party pictures: non-commercial research only",
        "n_training_faces": len(faces.patches) - n_valid,
        "n_valid_faces": n_valid,
        "scores": _rounded(scores),
        "score_meaning": "mean distance of the 20 mouth points over the outer-eye distance, on "
        "people not in training; error_human against human points (television pictures), "
        "error_teacher against bias-corrected teacher points (web portraits, outer eyes taken as "
        f"eye centres / .73), jittered: boxes displaced and scaled by up to .1; "
        f"{N_MOUTH_POINTS} + {N_FACE_POINTS} points",
        "limits": "near-frontal faces of 40 px and more; in-plane rotation beyond 40 degrees, "
        "profiles and covered mouths are not in the training pictures",
    }
    settings = {"points": "iBUG 48-67, left eye, right eye, nose, left corner, right corner"}
    return BundleSpec(
        BUNDLE_NAME, "mouth_landmarks", "mouth_landmarks", asdict(config.model), settings, card
    )
