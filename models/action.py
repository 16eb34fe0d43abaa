"""The action head: I3D over pictures and HCN over the skeleton, fused on the way up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from models.fusion import Fusion, FusionPoint, FusionState, build_fusion
from models.hcn import HCN, HCNConfig
from models.head_output import HeadOutput
from models.i3d import I3DConfig, comes_before
from models.video_towers import VideoTowers

SKELETON = "skeleton"


@dataclass(frozen=True, slots=True)
class ActionConfig:
    """Towers and fusion.

    Attributes:
        n_classes: Labels.
        video: Picture streams out of `rgb`, `depth` and `flow`; the skeleton comes after them.
        fuses_at: Stages of I3D and layers of HCN where the streams may meet, in order; the last
            is 5c with fc7.
        fusion: Key of `models.fusion.FUSIONS`.
        fusion_settings: Of that fusion, e.g. `n_modules`, `squeeze`, `at`.
        n_joints: Joints of one skeleton.
        n_skeleton_frames: Frames of a window of the skeleton, a multiple of 16.
        shares_to: Stage up to which several picture streams share weights; None: they do not.
        width: Multiplies the channels of I3D.
        skeleton_width: Multiplies those of HCN.
        dropout: Before the classifier of I3D.
        skeleton_dropout: In HCN.
        skeleton_normalises: Whether HCN normalises its input (see `HCNConfig`).
    """

    n_classes: int = 27
    video: tuple[str, ...] = ("depth",)
    fuses_at: tuple[tuple[str, str], ...] = (("4f", "conv5"), ("5b", "conv6"), ("5c", "fc7"))
    fusion: str = "mmtm"
    fusion_settings: dict[str, Any] = field(default_factory=dict)
    n_joints: int = 20
    n_skeleton_frames: int = 32
    shares_to: str | None = None
    width: float = 1.0
    skeleton_width: float = 1.0
    dropout: float = 0.5
    skeleton_dropout: float = 0.5
    skeleton_normalises: bool = True

    def __post_init__(self) -> None:
        """Accept the lists that JSON gives and check the places of the fusion.

        Raises:
            ValueError: No picture stream, or `fuses_at` does not end with 5c and fc7.
        """
        object.__setattr__(self, "video", tuple(self.video))
        pairs = tuple((str(stage), str(layer)) for stage, layer in self.fuses_at)
        object.__setattr__(self, "fuses_at", pairs)
        if not self.video:
            raise ValueError("action: expected a picture stream, found none")
        if pairs[-1:] != (("5c", "fc7"),):
            raise ValueError(f"action: fuses_at ends with 5c and fc7, found {pairs}")

    @property
    def streams(self) -> tuple[str, ...]:
        """Every stream in the order of the fusion."""
        return (*self.video, SKELETON)

    @property
    def tower(self) -> I3DConfig:
        """Size of each picture tower."""
        return I3DConfig(self.n_classes, width=self.width, dropout=self.dropout)

    @property
    def skeleton(self) -> HCNConfig:
        """Size of the skeleton's tower."""
        return HCNConfig(
            self.n_classes,
            self.n_joints,
            self.n_skeleton_frames,
            self.skeleton_width,
            self.skeleton_dropout,
            self.skeleton_normalises,
        )

    @property
    def points(self) -> list[FusionPoint]:
        """Channels of every stream at each place of the fusion."""
        return [
            FusionPoint(
                (self.tower.channels_after(stage),) * len(self.video)
                + (self.skeleton.channels_after(layer),)
            )
            for stage, layer in self.fuses_at
        ]


class ActionHead(nn.Module):
    """Actions from pictures, from a skeleton of one or more persons, or from both.

    Reference:
        Joze et al., MMTM, CVPR 2020, section 4.3 and figure 4: 4f with conv5, 5b with conv6, 5c
        with fc7; the mean of the logits decides.

    Differs:
        A stream may be absent: the fusion then sees zeros in its place. HCN keeps its persons
        apart up to fc7; the squeeze averages over them.
    """

    def __init__(self, config: ActionConfig) -> None:
        """Build both towers and the fusion."""
        super().__init__()
        self.config = config
        self.video = VideoTowers(config.video, config.tower, config.shares_to)
        self.skeleton = HCN(config.skeleton)
        self.fusion: Fusion = build_fusion(
            config.fusion, config.points, config.n_classes, **config.fusion_settings
        )

    def forward(self, streams: Mapping[str, Tensor], after: str | None = None) -> HeadOutput:
        """Each stream's logits and the joint ones.

        Args:
            streams: By name: picture streams `[B, C, T, H, W]`, colour and depth in -1..1, flow
                divided by its limit; `skeleton` `[B, 3, T, V, P]`, the origin in the torso, zeros
                for a person who is not there. Streams that are missing are so for the whole batch.
            after: The picture streams are features after this stage of I3D.

        Raises:
            ValueError: A stream is unknown, none is given, or a fusion would come before `after`.
        """
        features = self._ordered(streams)
        state = self.fusion.begin()
        layer_before: str | None = None
        for depth, (stage, layer) in enumerate(self.config.fuses_at):
            if comes_before(stage, after):
                self._check_unfused(depth)
                continue
            features = self._climb(features, (after, layer_before), (stage, layer))
            after, layer_before = stage, layer
            features = self.fusion(state, depth, features)
        return self._decide(features, state)

    def stem(self, stream: str, pictures: Tensor, last: str = "4e") -> Tensor:
        """A picture stream's features after the stage `last`, before any fusion."""
        return self.video.run(stream, pictures, None, last)

    def _ordered(self, streams: Mapping[str, Tensor]) -> list[Tensor | None]:
        unknown = set(streams) - set(self.config.streams)
        if unknown or not streams:
            found = sorted(streams)
            raise ValueError(f"action: expected streams of {self.config.streams}, found {found}")
        return [streams.get(name) for name in self.config.streams]

    def _check_unfused(self, depth: int) -> None:
        if depth in self.fusion.at:
            stage = self.config.fuses_at[depth][0]
            raise ValueError(f"action: streams meet after {stage}: give features from before it")

    def _climb(
        self,
        features: list[Tensor | None],
        after: tuple[str | None, str | None],
        last: tuple[str, str],
    ) -> list[Tensor | None]:
        """Every stream from one place of the fusion (stage, layer) to the next."""
        *video, skeleton = features
        climbed = [
            None if x is None else self.video.run(name, x, after[0], last[0])
            for name, x in zip(self.config.video, video, strict=True)
        ]
        bones = None if skeleton is None else self.skeleton.run(skeleton, after[1], last[1])
        return [*climbed, bones]

    def _decide(self, features: list[Tensor | None], state: FusionState) -> HeadOutput:
        """Logits of each stream from its last features, and the decision."""
        *video, skeleton = features
        logits: dict[str, Tensor] = {}
        vectors: list[Tensor | None] = []
        for name, x in zip(self.config.video, video, strict=True):
            pooled = None if x is None else self.video.tower(name).pool(x)
            vectors.append(None if pooled is None else pooled.mean(2))
            if pooled is not None:
                logits[name] = self.video.tower(name).classify(pooled)
        if skeleton is not None:
            logits[SKELETON] = self.skeleton.classify(skeleton)
        opinions = [logits.get(name) for name in self.config.streams]
        joint = self.fusion.decide(state, [*vectors, skeleton], opinions)
        return HeadOutput(logits, joint, self.fusion.penalty(state))
