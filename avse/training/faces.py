"""Training and measuring the face detector (`avse train faces --data DIR`)."""

import logging
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avse.training.face_scenes import FacePicture, SceneConfig, SceneMaker, load_face_pictures
from avse.training.face_scores import evaluate_by_corpus, evaluate_face_detector, evaluate_on_scenes
from avse.training.run_folder import RunFolder
from models.face_detector import (
    FaceDetectorConfig,
    FaceDetectorNet,
    RawFaces,
    encode_boxes,
    match_anchors,
)
from models.weights import BundleSpec, save_bundle
from preprocessing.types import Progress, no_progress

__all__ = ["FaceTraining", "evaluate_face_detector", "train_face_detector"]

logger = logging.getLogger(__name__)

UNSURE = -2
BUNDLE_NAME = "face-detector"


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
        raw_threshold: Score of the raw network that the shipped one calls 0.5; chosen on the held
            out pictures, where it costs no face and most false alarms lie below it.
        n_scored_scenes: Scenes of held-out pictures that the result is measured on.
        network: Shape of the network.
        scenes: How scenes are made.
    """

    batch: int = 16
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    negatives_per_positive: int = 4
    box_weight: float = 1.0
    average_decay: float = 0.995
    checkpoint_s: float = 60.0
    raw_threshold: float = 0.8
    n_scored_scenes: int = 300
    network: FaceDetectorConfig = field(default_factory=FaceDetectorConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)


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

    def __init__(self, training: FaceTraining, seed: int) -> None:
        """Fresh weights from `seed`."""
        torch.manual_seed(seed)
        self.training = training
        self.net = _channels_last(FaceDetectorNet(training.network))
        self.mean = _channels_last(FaceDetectorNet(training.network))
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
        rate = self.training.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * share_done))
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

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint of the same configuration."""
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


def train_face_detector(  # noqa: PLR0913 - the options of the command, by name
    data_dir: Path,
    out_dir: Path,
    *,
    steps: int | None = None,
    minutes: float = 40.0,
    seed: int = 0,
    progress: Progress = no_progress,
    commit: str = "",
    training: FaceTraining | None = None,
) -> BundleSpec:
    """Train, measure on what was held out and write a bundle into `out_dir / "bundle"`.

    A checkpoint in `out_dir` is continued. `out_dir / "log.jsonl"` gets one line a hundred steps.

    Args:
        data_dir: Folder that holds `faces/labels.json` and the pictures; clips listed in its
            `av.csv`, if any, are used to measure.
        out_dir: Run folder, made where absent.
        steps: Updates in all; None counts minutes instead.
        minutes: Minutes of training in all where `steps` is None.
        seed: Of weights and scenes.
        progress: Called as `(stage, done, total)`.
        commit: Version of the code; goes into the card.
        training: Settings that differ from the defaults.

    Raises:
        Unreadable: The labels or a picture cannot be read.
        ValueError: There are no pictures to train on.
    """
    training = training or FaceTraining()
    run = RunFolder(out_dir)
    run.describe(training, seed)
    pictures = load_face_pictures(data_dir / "faces", progress)
    maker = SceneMaker([p for p in pictures if not p.is_valid], training.scenes, seed)
    trainer = FaceTrainer(training, seed)
    if (state := run.load()) is not None:
        trainer.resume(state)
        maker.rng = np.random.default_rng([seed, trainer.step])
    _run(trainer, maker, Budget(steps, minutes), run, progress)
    net = _channels_last(trainer.mean.folded())
    shift_scores(net, training.raw_threshold)
    scores = _measure(net, [p for p in pictures if p.is_valid], training, data_dir)
    run.record(step=trainer.step, valid=scores)
    origin = {"pictures": len(maker.pictures), "seed": seed, "commit": commit}
    card = make_card(trainer, origin, scores)
    return save_bundle(out_dir / "bundle", _describe(net, training, card), net)


def _measure(
    net: FaceDetectorNet, held_out: list[FacePicture], training: FaceTraining, data_dir: Path
) -> dict[str, Any]:
    n_scenes = training.n_scored_scenes
    return {
        "pictures": evaluate_face_detector(net, held_out),
        "scenes": evaluate_on_scenes(net, held_out, training.scenes, n_scenes=n_scenes),
        "clips": evaluate_by_corpus(net, data_dir),
    }


def _run(
    trainer: FaceTrainer, maker: SceneMaker, budget: Budget, run: RunFolder, progress: Progress
) -> None:
    mark_s = saved_s = time.monotonic()
    while (share := budget.share_done(trainer.step, trainer.elapsed_s)) < 1.0:
        losses = trainer.train_step(make_batch(maker, trainer.training.batch), share)
        now_s = time.monotonic()
        trainer.elapsed_s += now_s - mark_s
        mark_s = now_s
        if trainer.step % 100 == 0 or trainer.step == budget.steps:
            run.record(step=trainer.step, elapsed_s=trainer.elapsed_s, **losses)
        if now_s - saved_s > trainer.training.checkpoint_s:
            run.save(trainer.state())
            saved_s = now_s
        progress("train faces", share, 1.0)
    run.save(trainer.state())


@torch.no_grad()
def shift_scores(net: FaceDetectorNet, raw_threshold: float) -> None:
    """Lower all scores in place so that `raw_threshold` becomes 0.5; their order stays."""
    shift = math.log(raw_threshold / (1.0 - raw_threshold))
    for head in net.heads:
        assert isinstance(head, nn.Conv2d)
        assert head.bias is not None
        head.bias[-5] -= shift


def _describe(net: FaceDetectorNet, training: FaceTraining, card: dict[str, Any]) -> BundleSpec:
    settings = {
        "threshold": 0.5,
        "overlap": 0.35,
        "least_face_px": training.scenes.least_face_px,
    }
    return BundleSpec(
        name=BUNDLE_NAME,
        task="face_detection",
        model="face_detector",
        model_config=asdict(net.config),
        settings=settings,
        card=card,
    )


def make_card(
    trainer: FaceTrainer, origin: dict[str, Any], scores: dict[str, Any]
) -> dict[str, Any]:
    """Model card of a trained detector; `origin`: number of pictures, seed, commit."""
    return {
        "training": f"{origin['pictures']} labelled face pictures (split train of "
        "faces/labels.json) pasted over face-free parts of the same pictures, noise and gradients",
        "labels": "boxes of a teacher detector, not drawn by people; `recall` is agreement with it",
        "terms": "weights for non-commercial research: the pictures' terms allow no more",
        "command": "avse train faces --data DIR",
        "seed": origin["seed"],
        "commit": origin["commit"],
        "steps": trainer.step,
        "minutes": round(trainer.elapsed_s / 60, 1),
        "scores": scores,
        "limits": "frontal to half-profile faces, upright within about 30 degrees; trained on "
        "broadcast and web portraits; not measured on crowds, masks or full profiles",
    }


def _channels_last(net: FaceDetectorNet) -> FaceDetectorNet:
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
