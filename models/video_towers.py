"""I3D towers of several picture streams that may share their lower stages."""

from collections.abc import Sequence
from typing import Self, cast

from torch import Tensor, nn

from models.i3d import I3D, STAGES, I3DConfig, make_stage, stages_between

STREAM_CHANNELS = {"rgb": 3, "depth": 1, "flow": 2}
"""Channels of each kind of picture stream."""


class VideoTowers(nn.Module):
    """One I3D for each stream; with `shares_to` the stages from 2b to there exist once.

    The first convolution always belongs to the stream: a depth picture has one channel, colour
    three and flow two.
    """

    def __init__(
        self, streams: Sequence[str], config: I3DConfig, shares_to: str | None = None
    ) -> None:
        """Build the towers.

        Args:
            streams: Names out of `STREAM_CHANNELS`.
            config: Of each tower; `n_channels` and `omits` follow from the stream.
            shares_to: Last stage that all streams have in common; None: nothing is shared.

        Raises:
            ValueError: A stream or a stage is unknown.
        """
        super().__init__()
        for stream in streams:
            if stream not in STREAM_CHANNELS:
                found = f"{stream!r}"
                raise ValueError(f"stream: expected one of {list(STREAM_CHANNELS)}, found {found}")
        omits = () if shares_to is None else stages_between("1a", shares_to)
        self.shared = nn.ModuleDict({stage: make_stage(stage, config) for stage in omits})
        self.towers = nn.ModuleDict({
            stream: I3D(
                I3DConfig(
                    config.n_classes, STREAM_CHANNELS[stream], config.width, config.dropout, omits
                )
            )
            for stream in streams
        })  # fmt: skip
        self._frozen_to: str | None = None

    def tower(self, stream: str) -> I3D:
        """The tower of a stream (without the shared stages)."""
        return cast("I3D", self.towers[stream])

    def stage(self, stream: str, stage: str) -> nn.Module:
        """The module that carries out a stage for a stream."""
        return self.shared[stage] if stage in self.shared else self.tower(stream).stages[stage]

    def run(self, stream: str, x: Tensor, after: str | None = None, last: str = "5c") -> Tensor:
        """Features of a stream after the stage `last`, from those after `after` (None: pictures).

        Raises:
            ValueError: A stage is unknown or `last` comes before `after`.
        """
        for stage in stages_between(after, last):
            x = self.stage(stream, stage)(x)
        return x

    def freeze(self, last: str) -> Self:
        """Fix every weight and statistic up to a stage: no gradients, always as in inference."""
        self._frozen_to = last
        for module in self._frozen():
            module.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Training or inference; what is frozen stays as in inference."""
        super().train(mode)
        for module in self._frozen():
            module.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        if self._frozen_to is None:
            return []
        stages = STAGES[: STAGES.index(self._frozen_to) + 1]
        return [self.stage(stream, stage) for stream in self.towers for stage in stages]
