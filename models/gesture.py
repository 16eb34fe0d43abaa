"""The hand-gesture head: an I3D for each picture stream, fused on the way up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from models.fusion import Fusion, FusionPoint, FusionState, build_fusion
from models.head_output import HeadOutput
from models.i3d import INCEPTIONS, I3DConfig, comes_before
from models.video_towers import VideoTowers


@dataclass(frozen=True, slots=True)
class GestureConfig:
    """Towers and fusion.

    Attributes:
        n_classes: Labels.
        streams: Out of `rgb`, `depth` and `flow`, in the order of the fusion.
        fuses_at: Inception modules after which the streams may meet, in order; the last is 5c.
        fusion: Key of `models.fusion.FUSIONS`.
        fusion_settings: Of that fusion, e.g. `n_modules`, `squeeze`, `at`.
        shares_to: Stage up to which the streams share weights, 1a left out; None: they do not.
        width: Multiplies every tower's channels.
        dropout: Before each tower's classifier.
    """

    n_classes: int = 27
    streams: tuple[str, ...] = ("depth", "flow")
    fuses_at: tuple[str, ...] = ("4c", "4d", "4e", "4f", "5b", "5c")
    fusion: str = "mmtm"
    fusion_settings: dict[str, Any] = field(default_factory=dict)
    shares_to: str | None = None
    width: float = 1.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        """Accept the lists that JSON gives and check the places of the fusion.

        Raises:
            ValueError: No stream, or `fuses_at` is not in order, or does not end with 5c.
        """
        object.__setattr__(self, "streams", tuple(self.streams))
        object.__setattr__(self, "fuses_at", tuple(self.fuses_at))
        if not self.streams:
            raise ValueError("gesture: expected a stream, found none")
        in_order = tuple(stage for stage in INCEPTIONS if stage in self.fuses_at)
        if self.fuses_at != in_order or self.fuses_at[-1:] != ("5c",):
            raise ValueError(f"gesture: fuses_at is in order and ends with 5c, not {self.fuses_at}")

    @property
    def tower(self) -> I3DConfig:
        """Size of each tower."""
        return I3DConfig(self.n_classes, width=self.width, dropout=self.dropout)


class GestureHead(nn.Module):
    """Gestures from any subset of its streams.

    Reference:
        Joze et al., MMTM, CVPR 2020, section 4.1: six modules after the last six inception
        modules, the mean of the logits decides.

    Differs:
        Streams may share their lower stages (`shares_to`), and a stream may be absent: the fusion
        then sees zeros in its place.
    """

    def __init__(self, config: GestureConfig) -> None:
        """Build towers and fusion; one stream alone needs no fusion."""
        super().__init__()
        self.config = config
        self.video = VideoTowers(config.streams, config.tower, config.shares_to)
        self.fusion: Fusion | None = None
        if len(config.streams) > 1:
            n_streams = len(config.streams)
            points = [
                FusionPoint((config.tower.channels_after(stage),) * n_streams)
                for stage in config.fuses_at
            ]
            self.fusion = build_fusion(
                config.fusion, points, config.n_classes, **config.fusion_settings
            )

    def forward(self, streams: Mapping[str, Tensor], after: str | None = None) -> HeadOutput:
        """Each stream's logits and the joint ones.

        Args:
            streams: By name, `[B, C, T, H, W]`: colour and depth in -1..1, flow divided by its
                limit; those that are not there are absent for the whole batch.
            after: The streams are features after this stage, e.g. from `stem`.

        Raises:
            ValueError: A stream is unknown, none is given, or a fusion would come before `after`.
        """
        features = self._ordered(streams)
        state = None if self.fusion is None else self.fusion.begin()
        for depth, stage in enumerate(self.config.fuses_at):
            if comes_before(stage, after):
                self._check_unfused(depth)
                continue
            features = self._climb(features, after, stage)
            after = stage
            if self.fusion is not None and state is not None:
                features = self.fusion(state, depth, features)
        return self._decide(features, state)

    def stem(self, stream: str, pictures: Tensor, last: str = "4e") -> Tensor:
        """A stream's features after the stage `last`, before any fusion.

        Example:
            >>> import torch
            >>> head = GestureHead(GestureConfig(width=0.1, fuses_at=("4f", "5b", "5c"))).eval()
            >>> clip = {"depth": torch.zeros(1, 1, 8, 32, 32)}
            >>> cached = {name: head.stem(name, x) for name, x in clip.items()}
            >>> torch.equal(head(clip).joint, head(cached, after="4e").joint)
            True
        """
        return self.video.run(stream, pictures, None, last)

    def _ordered(self, streams: Mapping[str, Tensor]) -> list[Tensor | None]:
        unknown = set(streams) - set(self.config.streams)
        if unknown or not streams:
            found = sorted(streams)
            raise ValueError(f"gesture: expected streams of {self.config.streams}, found {found}")
        return [streams.get(name) for name in self.config.streams]

    def _check_unfused(self, depth: int) -> None:
        if self.fusion is not None and depth in self.fusion.at:
            stage = self.config.fuses_at[depth]
            raise ValueError(f"gesture: streams meet after {stage}: give features from before it")

    def _climb(
        self, features: list[Tensor | None], after: str | None, last: str
    ) -> list[Tensor | None]:
        return [
            None if x is None else self.video.run(name, x, after, last)
            for name, x in zip(self.config.streams, features, strict=True)
        ]

    def _decide(self, features: list[Tensor | None], state: FusionState | None) -> HeadOutput:
        """Logits of each stream from its last features, and the decision."""
        logits: dict[str, Tensor] = {}
        vectors: list[Tensor | None] = []
        for name, x in zip(self.config.streams, features, strict=True):
            pooled = None if x is None else self.video.tower(name).pool(x)
            vectors.append(None if pooled is None else pooled.mean(2))
            if pooled is not None:
                logits[name] = self.video.tower(name).classify(pooled)
        if self.fusion is None or state is None:
            (only,) = logits.values()
            return HeadOutput(logits, only, only.new_zeros(()))
        opinions = [logits.get(name) for name in self.config.streams]
        joint = self.fusion.decide(state, vectors, opinions)
        return HeadOutput(logits, joint, self.fusion.penalty(state))
