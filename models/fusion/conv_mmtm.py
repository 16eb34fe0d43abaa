"""Convolutional MMTM: the transfer module without the squeeze, as a gate or as a sum."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models.fusion.base import (
    Fusion,
    FusionPoint,
    FusionState,
    joined_at_places_of,
    pointwise,
    zero_linear,
)

Operation = Literal["gate", "sum"]


class ConvMmtmFusion(Fusion):
    """MMTM's two maps as 1x1 convolutions: an excitation for each place, not for each channel.

        Z = ReLU(W * [x_1, ..., x_N])      E_m = W_m * Z      (1x1 convolutions)
        gate: out_m = 2 * sigmoid(E_m) * x_m
        sum:  out_m = x_m + E_m

    It has the parameters of MMTM, number for number. A fresh module changes nothing.

    Reference:
        Joze et al., MMTM, CVPR 2020, section 5.4 and table 6.

    Differs:
        The paper's streams are aligned. Where the spatial shape of a stream is another than that
        of the stream being gated, its average stands in at every place.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        operation: Operation = "gate",
        reduction: int = 4,
    ) -> None:
        """Build the maps of each depth of `at`.

        Raises:
            ValueError: An unknown operation.
        """
        super().__init__(points, n_classes, at)
        if operation not in ("gate", "sum"):
            raise ValueError(f"conv_mmtm: operation is 'gate' or 'sum', found {operation!r}")
        self.operation = operation
        self.transfers = nn.ModuleDict({
            str(depth): _Transfer(self.points[depth].channels, reduction) for depth in self.at
        })  # fmt: skip

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Gated or summed streams; the excitations go into the state."""
        excitations: list[Tensor] = self.transfers[str(depth)](features)
        state.excitations.extend(excitations)
        if self.operation == "sum":
            return [x + e for x, e in zip(features, excitations, strict=True)]
        return [x * 2 * torch.sigmoid(e) for x, e in zip(features, excitations, strict=True)]


class _Transfer(nn.Module):
    """Streams -> an excitation in the shape of each."""

    def __init__(self, channels: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        n_joint = max(1, sum(channels) // reduction)
        self.squeeze = nn.Linear(sum(channels), n_joint)
        self.excite = nn.ModuleList(zero_linear(n_joint, n) for n in channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        joints: dict[torch.Size, Tensor] = {}  # aligned streams share one
        excitations = []
        for x, excite in zip(features, self.excite, strict=True):
            if x.shape[2:] not in joints:
                everything = joined_at_places_of(x, features)
                joints[x.shape[2:]] = torch.relu(pointwise(self.squeeze, everything))
            assert isinstance(excite, nn.Linear)
            excitations.append(pointwise(excite, joints[x.shape[2:]]))
        return excitations
