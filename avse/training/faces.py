"""Training and measuring the face detector (`avse train faces --data DIR`)."""

import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avse.training.face_scenes import (
    FacePicture,
    SceneConfig,
    SceneMaker,
    load_face_pictures,
)
from models.face_detector import (
    FaceDetectorConfig,
    FaceDetectorNet,
    RawFaces,
    box_iou,
    encode_boxes,
    match_anchors,
)
from models.weights import BundleSpec, save_bundle
from preprocessing.types import Progress, no_progress

logger = logging.getLogger(__name__)

UNSURE = -2


@dataclass(frozen=True, slots=True)
class FaceTraining:
    """Settings of one run.

    Attributes:
        batch: Scenes in a step.
        learning_rate: Peak; a short warm-up, then a cosine to zero over the whole run.
        weight_decay: Of AdamW.
        negatives_per_positive: Hard-negative mining keeps so many of the worst background anchors.
        box_weight: Weight of the box loss.
        average_decay: Of the running mean of the weights, which is what ships.
        checkpoint_s: Seconds between checkpoints.
        threads: Threads of torch (None leaves the setting alone).
    """

    batch: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    negatives_per_positive: int = 4
    box_weight: float = 1.0
    average_decay: float = 0.995
    checkpoint_s: float = 60.0
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """When a run ends: after `steps`, or after `minutes` of work where `steps` is None."""

    steps: int | None
    minutes: float

    def share_done(self, step: int, elapsed_s: float) -> float:
        """0 at the start, 1 at the end."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, elapsed_s / (60.0 * self.minutes))


class FaceTrainer:
    """Network, running mean, optimiser and place in the run: what a checkpoint holds."""

    def __init__(self, config: FaceDetectorConfig, training: FaceTraining, seed: int) -> None:
        """Fresh weights from `seed`."""
        torch.manual_seed(seed)
        self.training = training
        self.net = FaceDetectorNet(config).to(memory_format=torch.channels_last)
        self.mean = FaceDetectorNet(config).to(memory_format=torch.channels_last)
        self.mean.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self.step = 0
        self.elapsed_s = 0.0

    def train_step(self, batch: "SceneBatch", share_done: float) -> dict[str, float]:
        """One update; returns the losses."""
        self._set_rate(share_done)
        self.net.train()
        losses = detection_loss(self.net(batch.images), batch, self.training)
        total = losses["class"] + self.training.box_weight * losses["box"]
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self._follow()
        self.step += 1
        return {name: float(value.detach()) for name, value in losses.items()}

    def _set_rate(self, share_done: float) -> None:
        warm_up = min(1.0, (self.step + 1) / 50)
        rate = self.training.learning_rate * warm_up * 0.5 * (1 + np.cos(np.pi * share_done))
        for group in self.optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.training.average_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.mean.state_dict().values(), self.net.state_dict().values(), strict=True)
        for kept, fresh in pairs:
            if kept.is_floating_point():
                kept.lerp_(fresh, 1 - decay)
            else:
                kept.copy_(fresh)

    def save(self, path: Path) -> None:
        """Write the checkpoint so that a kill leaves the old one or the new one."""
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        state = {
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint of the same configuration."""
        state = torch.load(path, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.mean.load_state_dict(state["mean"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


@dataclass(frozen=True, slots=True)
class SceneBatch:
    """Images `[B, 3, S, S]` float 0..255 and, for each, faces and unsure regions `[N, 4]`."""

    images: Tensor
    boxes: list[Tensor]
    unsure: list[Tensor]


def make_batch(maker: SceneMaker, n_scenes: int) -> SceneBatch:
    """So many fresh scenes as tensors."""
    images, boxes, unsure = zip(*(maker.make() for _ in range(n_scenes)), strict=True)
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return SceneBatch(
        stacked.contiguous(memory_format=torch.channels_last),
        [torch.from_numpy(each) for each in boxes],
        [torch.from_numpy(each) for each in unsure],
    )


def detection_loss(raw: RawFaces, batch: SceneBatch, training: FaceTraining) -> dict[str, Tensor]:
    """Softmax loss over faces and the hardest background, smooth L1 over the faces' boxes."""
    matched = torch.stack(
        [
            anchor_targets(raw.anchors, boxes, unsure)
            for boxes, unsure in zip(batch.boxes, batch.unsure, strict=True)
        ]
    )  # [B, A]
    is_face = matched >= 0
    loss = F.cross_entropy(raw.logits.flatten(0, 1), is_face.flatten().long(), reduction="none")
    background = torch.where(matched.flatten() == -1, loss, 0.0)
    n_faces = int(is_face.sum())
    n_hard = max(training.negatives_per_positive * n_faces, 64 * len(matched))
    hard = background.topk(min(n_hard, len(background))).values
    n_norm = max(n_faces, 16)
    class_loss = (loss[is_face.flatten()].sum() + hard.sum()) / n_norm
    wanted = [
        encode_boxes(boxes[row[row >= 0]], raw.anchors[row >= 0])
        for boxes, row in zip(batch.boxes, matched, strict=True)
    ]
    box_loss = F.smooth_l1_loss(raw.offsets[is_face], torch.cat(wanted), reduction="sum") / n_norm
    return {"class": class_loss, "box": box_loss}


def anchor_targets(anchors: Tensor, boxes: Tensor, unsure: Tensor) -> Tensor:
    """Face index of every anchor `[A]`, -1 for background, `UNSURE` for what is not judged."""
    matched = match_anchors(anchors, boxes)
    if len(unsure):
        x, y = anchors[:, None, 0], anchors[:, None, 1]
        is_in = (x > unsure[:, 0]) & (y > unsure[:, 1]) & (x < unsure[:, 2]) & (y < unsure[:, 3])
        matched[(matched < 0) & is_in.any(dim=1)] = UNSURE
    return matched


def train_face_detector(
    data_dir: Path,
    out_dir: Path,
    *,
    steps: int | None = None,
    minutes: float = 10.0,
    seed: int = 0,
    progress: Progress = no_progress,
    training: FaceTraining = FaceTraining(),
    scenes: SceneConfig = SceneConfig(),
    config: FaceDetectorConfig = FaceDetectorConfig(),
    commit: str = "",
) -> BundleSpec:
    """Train, measure on the held-out pictures and write a bundle into `out_dir / "bundle"`.

    A checkpoint in `out_dir` is continued. `out_dir / "log.jsonl"` gets one line a hundred steps.

    Args:
        data_dir: Folder that holds `faces/labels.json` and the pictures.
        out_dir: Run folder, made where absent.
        steps: Updates in all; None counts minutes instead.
        minutes: Minutes of training in all where `steps` is None.
        seed: Of weights and scenes.
        progress: Called as `(stage, done, total)`.
        training: Optimiser settings.
        scenes: How scenes are made.
        config: Shape of the network.
        commit: Goes into the card.

    Raises:
        Unreadable: The labels or a picture cannot be read.
        ValueError: There are no pictures to train on.
    """
    if training.threads is not None:
        torch.set_num_threads(training.threads)
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = load_face_pictures(data_dir / "faces", progress)
    maker = SceneMaker([p for p in pictures if not p.is_valid], scenes, seed)
    trainer = FaceTrainer(config, training, seed)
    checkpoint = out_dir / "checkpoint.pt"
    if checkpoint.is_file():
        trainer.resume(checkpoint)
        maker.rng = np.random.default_rng([seed, trainer.step])
    _run(trainer, maker, Budget(steps, minutes), out_dir, progress)
    net = trainer.mean.folded().to(memory_format=torch.channels_last)
    scores = evaluate_face_detector(net, [p for p in pictures if p.is_valid], progress=progress)
    _log(out_dir, {"step": trainer.step, "valid": scores})
    card = make_card(trainer, seed, commit, scores)
    spec = BundleSpec(
        "face-detector", "face_detection", "face_detector", asdict(net.config),
        {"threshold": 0.5, "overlap": 0.35, "least_face_px": scenes.least_face_px}, card,
    )  # fmt: skip
    return save_bundle(out_dir / "bundle", spec, net)


def _run(
    trainer: FaceTrainer, maker: SceneMaker, budget: Budget, out_dir: Path, progress: Progress
) -> None:
    checkpoint = out_dir / "checkpoint.pt"
    mark_s = saved_s = time.monotonic()
    while (share := budget.share_done(trainer.step, trainer.elapsed_s)) < 1.0:
        batch = make_batch(maker, trainer.training.batch)
        losses = trainer.train_step(batch, share)
        now_s = time.monotonic()
        trainer.elapsed_s += now_s - mark_s
        mark_s = now_s
        if trainer.step % 100 == 0 or trainer.step == budget.steps:
            _log(out_dir, {"step": trainer.step, "elapsed_s": trainer.elapsed_s} | losses)
        if now_s - saved_s > trainer.training.checkpoint_s:
            trainer.save(checkpoint)
            saved_s = now_s
        progress("train faces", share, 1.0)
    trainer.save(checkpoint)


def _log(out_dir: Path, line: dict[str, Any]) -> None:
    with (out_dir / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def make_card(
    trainer: FaceTrainer, seed: int, commit: str, scores: dict[str, float]
) -> dict[str, Any]:
    """Model card of a trained detector."""
    return {
        "training": "faces/labels.json of the project's training folder: 3334 labelled pictures "
        "(split train) pasted over face-free parts of the same pictures, noise and gradients",
        "labels": "boxes of a teacher detector, not of people",
        "terms": "weights for non-commercial research: the pictures' terms allow no more",
        "command": "avse train faces --data DIR",
        "seed": seed,
        "commit": commit,
        "steps": trainer.step,
        "minutes": round(trainer.elapsed_s / 60, 1),
        "scores": scores,
        "limits": "frontal to half-profile faces; trained on broadcast and web portraits; not "
        "measured on crowds, masks or full profiles",
    }


def evaluate_face_detector(
    net: FaceDetectorNet,
    pictures: list[FacePicture],
    *,
    threshold: float = 0.5,
    progress: Progress = no_progress,
) -> dict[str, float]:
    """Agreement with the teacher on pictures as they are.

    Returns:
        `recall` (share of teacher faces >= 40 px found with IoU >= .5), `mean_iou` of those,
        `false_per_picture` (detections that touch no teacher box with IoU >= .3),
        `ms_per_picture`, `n_faces`, `n_pictures`.
    """
    found: list[float] = []
    n_false, spent_s = 0, 0.0
    for index, picture in enumerate(pictures):
        start_s = time.perf_counter()
        boxes, _ = net.detect(torch.from_numpy(picture.image)[None], threshold)[0]
        spent_s += time.perf_counter() - start_s
        overlaps = box_iou(torch.from_numpy(picture.boxes_xyxy), boxes)
        found.extend(_best_overlaps(picture, overlaps))
        if overlaps.shape[1] and overlaps.shape[0]:
            n_false += int((overlaps.amax(dim=0) < 0.3).sum())
        progress("measure faces", index + 1, len(pictures))
    n_pictures = max(1, len(pictures))
    agreed = [value for value in found if value >= 0.5]
    return {
        "recall": len(agreed) / max(1, len(found)),
        "mean_iou": float(np.mean(agreed)) if agreed else 0.0,
        "false_per_picture": n_false / n_pictures,
        "ms_per_picture": 1000.0 * spent_s / n_pictures,
        "n_faces": float(len(found)),
        "n_pictures": float(len(pictures)),
    }


def _best_overlaps(picture: FacePicture, overlaps: Tensor) -> list[float]:
    sizes = picture.boxes_xyxy[:, 2:] - picture.boxes_xyxy[:, :2]
    is_large = np.sqrt(sizes.prod(axis=1)) >= 40.0
    if overlaps.shape[1] == 0:
        return [0.0] * int(is_large.sum())
    return [float(row.max()) for row, large in zip(overlaps, is_large, strict=True) if large]
