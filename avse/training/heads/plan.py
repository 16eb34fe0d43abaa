"""What is trained and on whom: splits, settings, rows of the tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from avse.training.heads.features import FeatureConfig
from avse.training.heads.training import HeadTraining
from models.action import SKELETON
from models.fusion.search import MfasSearch
from models.i3d import INCEPTIONS, STAGES


@dataclass(frozen=True, slots=True)
class Split:
    """Who trains and who is scored.

    Attributes:
        name: Folder of its runs.
        train: Subjects.
        scored: Subjects; never among `train`.
    """

    name: str
    train: tuple[int, ...]
    scored: tuple[int, ...]

    def __post_init__(self) -> None:
        """Keep the sides apart.

        Raises:
            ValueError: A subject stands on both sides.
        """
        if both := set(self.train) & set(self.scored):
            raise ValueError(f"split {self.name}: subjects {sorted(both)} train and are scored")


CHOICE = Split("choice", (1, 3, 5), (7,))
"""Every setting was chosen here: a training subject is held out."""

TEST = Split("test", (1, 3, 5, 7), (2, 4, 6, 8))
"""The standard split; its scored side decided nothing."""


@dataclass(frozen=True, slots=True)
class HeadsConfig:
    """All settings of the heads' trainings.

    Attributes:
        features: What the frozen stem is asked.
        depth: Training of the depth tower alone, after its classifier was fitted.
        flow: Of the flow tower alone, likewise.
        skeleton: Of the skeleton's tower alone.
        fusion: Of towers and fusion together, which begins with the towers' weights.
        shares_to: Stage up to which the streams have one stem; None: one each.
        width: Multiplies the channels of I3D; below 1 there are no published weights.
        skeleton_width: Multiplies those of HCN.
        n_joints: Of a skeleton.
        dropout: Before I3D's classifier; above 0 it undoes the fitted classifier.
        skeleton_dropout: In HCN.
        search: Of the layers of an MFAS-style fusion.
        n_search_steps: Training of each of its candidates.
        seeds: Of the tables; a bundle has the first.
        n_threads: Of the trainings.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    depth: HeadTraining = field(default_factory=lambda: HeadTraining(n_epochs=3, video_rate=1e-4))
    flow: HeadTraining = field(default_factory=lambda: HeadTraining(n_epochs=3, video_rate=1e-4))
    skeleton: HeadTraining = field(
        default_factory=lambda: HeadTraining(n_epochs=30, skeleton_rate=2e-3)
    )
    fusion: HeadTraining = field(default_factory=HeadTraining)
    shares_to: str | None = "4f"
    width: float = 1.0
    skeleton_width: float = 1.0
    n_joints: int = 20
    dropout: float = 0.0
    skeleton_dropout: float = 0.25
    search: MfasSearch = field(default_factory=lambda: MfasSearch(3, 2, 6))
    n_search_steps: int = 300
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    n_threads: int = 1

    def of_stream(self, stream: str) -> HeadTraining:
        """How the tower of a stream is trained alone.

        Raises:
            ValueError: Nothing is said about that stream.
        """
        known = {"depth": self.depth, "flow": self.flow, SKELETON: self.skeleton}
        if stream not in known:
            raise ValueError(f"stream: expected one of {sorted(known)}, found {stream!r}")
        return known[stream]


@dataclass(frozen=True, slots=True)
class Row:
    """One fusion between the towers of a head.

    Attributes:
        head: `action` or `gesture`.
        name: In the table.
        fusion: Key of `models.fusion.FUSIONS`.
        settings: Of the fusion.
        n_points: Gesture: fused after the last so many inception modules; 0 fuses late.
        is_trained: False joins the towers as they are (late fusion needs nothing more).
        training: Settings of `HeadTraining` that differ for this row.
    """

    head: str
    name: str
    fusion: str
    settings: dict[str, Any] = field(default_factory=dict)
    n_points: int = 3
    is_trained: bool = True
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[str, ...]:
        """In the order of the fusion."""
        return ("depth", SKELETON) if self.head == "action" else ("depth", "flow")

    @property
    def first_fused(self) -> str:
        """The first stage of I3D after which the streams meet."""
        return INCEPTIONS[-max(1, self.n_points)] if self.head == "gesture" else "4f"

    def stage(self, cached: Sequence[str]) -> str | None:
        """The deepest cached stage that this row can start from; None where there is none."""
        latest = STAGES.index(self.first_fused)
        usable = [stage for stage in cached if STAGES.index(stage) <= latest]
        return max(usable, key=STAGES.index, default=None)
