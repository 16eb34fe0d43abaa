"""One training of a head on cached features: towers alone, or joined by a fusion."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avse.training.heads.features import FeatureStore
from avse.training.heads.recordings import ActionRecordings
from avse.training.heads.windows import SkeletonNoise, WindowSpec, skeleton_window
from models.action import SKELETON, ActionHead
from models.gesture import GestureHead
from models.head_output import HeadOutput
from models.i3d import ShiftNorm

Head = ActionHead | GestureHead


@dataclass(frozen=True, slots=True)
class HeadTraining:
    """How a head is trained.

    Attributes:
        n_epochs: Passes over the training clips; the rates fall to 0 along a cosine. 0: none.
        batch_size: Clips.
        video_rate: AdamW's rate of the picture towers above `frozen_to`. The published kernels
            are small beside their fixed norms: they bear little.
        skeleton_rate: Of the skeleton's tower.
        fusion_rate: Of the fusion.
        weight_decay: AdamW's.
        label_smoothing: Of every cross-entropy.
        stream_weight: Weight of the streams' own cross-entropies beside the joint one's.
        penalty_weight: Weight of the excitation penalty.
        frozen_to: Last stage of I3D whose weights stay as Kinetics left them.
        noise: Variations of the skeleton.
    """

    n_epochs: int = 4
    batch_size: int = 16
    video_rate: float = 5e-5
    skeleton_rate: float = 3e-4
    fusion_rate: float = 2e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    stream_weight: float = 1.0
    penalty_weight: float = 0.01
    frozen_to: str = "4f"
    noise: SkeletonNoise = field(default_factory=SkeletonNoise)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: A negative number of epochs, or a batch of one (batch norms need two).
        """
        if self.n_epochs < 0 or self.batch_size < 2:
            raise ValueError(f"training: expected epochs and batches of 2 or more, found {self}")


@dataclass(frozen=True, slots=True)
class Material:
    """What trainings read.

    Attributes:
        recordings: Clips and skeletons.
        store: Features of the picture streams.
        window: How skeletons become windows.
        n_variants: Cached variants of each training clip.
    """

    recordings: ActionRecordings
    store: FeatureStore
    window: WindowSpec
    n_variants: int

    def streams(
        self,
        names: Sequence[str],
        stage: str,
        clips: Sequence[int],
        noise: SkeletonNoise | None = None,
        rng: np.random.Generator | None = None,
    ) -> dict[str, Tensor]:
        """A batch by stream name; plain clips without a generator, random variants with one."""
        variants = [0] * len(clips)
        if rng is not None:
            variants = [int(v) for v in rng.integers(self.n_variants, size=len(clips))]
        batch: dict[str, Tensor] = {}
        for name in names:
            if name == SKELETON:
                batch[name] = self._skeletons(clips, noise, rng)
            else:
                batch[name] = self.store.read(name, stage, variants, clips).to(
                    memory_format=torch.channels_last_3d
                )
        return batch

    def labels(self, clips: Sequence[int]) -> Tensor:
        """`[B]` int64."""
        return torch.tensor([self.recordings.clips[i].label for i in clips])

    def _skeletons(
        self,
        clips: Sequence[int],
        noise: SkeletonNoise | None,
        rng: np.random.Generator | None,
    ) -> Tensor:
        names = [self.recordings.clips[i].name for i in clips]
        windows = [
            skeleton_window(self.recordings.skeletons[name], self.window, noise, rng)
            for name in names
        ]
        return torch.from_numpy(np.stack(windows))


@dataclass(frozen=True, slots=True)
class Scores:
    """Which clips were recognised.

    Attributes:
        correct: One 0 or 1 a clip, by output: `joint` and the name of each stream.
        loss: Mean joint cross-entropy.
    """

    correct: Mapping[str, list[int]]
    loss: float

    def accuracy(self, output: str = "joint") -> float:
        """Percent of an output."""
        return 100 * float(np.mean(self.correct[output]))


@dataclass(frozen=True, slots=True)
class Part:
    """The side of a split that a training or a score reads.

    Attributes:
        streams: Given to the head; any subset of its own.
        stage: After which stage of I3D the cached features stand.
        clips: Indices.
    """

    streams: tuple[str, ...]
    stage: str
    clips: tuple[int, ...]


def train_head(
    head: Head,
    material: Material,
    part: Part,
    config: HeadTraining,
    seed: int,
    after_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> None:
    """Train in place; the weights up to `config.frozen_to` and every batch statistic of I3D stay.

    Args:
        head: With the weights to start from.
        material: Features and skeletons.
        part: Streams and clips to train on.
        config: How.
        seed: Of order, variants and dropout.
        after_epoch: Called with the epoch (from 1) and its mean losses.
    """
    if config.n_epochs == 0:
        return
    rng = np.random.default_rng(seed)
    head.video.freeze(config.frozen_to)
    head.video.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if isinstance(head, ActionHead):
        head.skeleton.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(_groups(head, config), weight_decay=config.weight_decay)
    n_steps = config.n_epochs * max(1, len(part.clips) // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], n_steps, pct_start=0.1
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, config.n_epochs + 1):
            _to_training(head)
            started, losses = time.monotonic(), []
            for batch in _batches(part.clips, config.batch_size, rng):
                streams = material.streams(part.streams, part.stage, batch, config.noise, rng)
                loss = head_loss(head(streams, after=part.stage), material.labels(batch), config)
                _descend(loss, optimiser)
                losses.append(float(loss.detach()))
                schedule.step()
            figures = {"loss": float(np.mean(losses)), "seconds": time.monotonic() - started}
            if after_epoch is not None:
                after_epoch(epoch, figures)
    head.eval()


@torch.inference_mode()
def score_head(head: Head, material: Material, part: Part, batch_size: int = 32) -> Scores:
    """What the head says about the plain clips."""
    head.eval()
    correct: dict[str, list[int]] = {}
    losses = []
    for first in range(0, len(part.clips), batch_size):
        clips = part.clips[first : first + batch_size]
        output = head(material.streams(part.streams, part.stage, clips), after=part.stage)
        labels = material.labels(clips)
        losses.append(float(F.cross_entropy(output.joint, labels, reduction="sum")))
        for name, logits in {"joint": output.joint, **output.logits}.items():
            correct.setdefault(name, []).extend((logits.argmax(1) == labels).int().tolist())
    return Scores(correct, sum(losses) / len(part.clips))


def head_loss(output: HeadOutput, labels: Tensor, config: HeadTraining) -> Tensor:
    """Joint cross-entropy, those of the streams, and the fusion's penalty."""
    smoothing = config.label_smoothing
    loss = F.cross_entropy(output.joint, labels, label_smoothing=smoothing)
    if len(output.logits) > 1:
        own = [
            F.cross_entropy(x, labels, label_smoothing=smoothing) for x in output.logits.values()
        ]
        loss = loss + config.stream_weight * torch.stack(own).mean()
    return loss + config.penalty_weight * output.penalty


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _to_training(head: Head) -> None:
    """Dropout and the fusion's norms as in training; I3D's statistics stay Kinetics'."""
    head.train()
    for module in head.video.modules():
        if isinstance(module, ShiftNorm):
            module.eval()


def _groups(head: Head, config: HeadTraining) -> list[dict[str, Any]]:
    parts: list[tuple[nn.Module | None, float]] = [
        (head.video, config.video_rate),
        (head.skeleton if isinstance(head, ActionHead) else None, config.skeleton_rate),
        (head.fusion, config.fusion_rate),
    ]
    groups = []
    for module, rate in parts:
        weights = [] if module is None else [p for p in module.parameters() if p.requires_grad]
        if weights:
            groups.append({"params": weights, "lr": rate})
    return groups


def _batches(
    clips: Sequence[int], batch_size: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Shuffled whole batches; a corpus smaller than one is one batch."""
    order = rng.permutation(np.asarray(clips)).tolist()
    n_whole = max(1, len(order) // batch_size)
    return [tuple(order[i * batch_size : (i + 1) * batch_size]) for i in range(n_whole)]
