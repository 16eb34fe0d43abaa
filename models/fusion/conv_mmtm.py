"""Convolutional MMTM: the transfer module without the squeeze, as a gate or as a sum."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models.fusion.base import (
    Fusion,
    FusionPoint,
    FusionState,
    gated_streams,
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
        The paper's streams are aligned. A stream of another spatial shape than the one being gated
        is averaged over the axes the two do not share.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        operation: Operation = "gate",
        reduction: int = 4,
        is_gated: Sequence[bool] | None = None,
    ) -> None:
        """Build the maps of each depth of `at`, for the streams of `is_gated` (None = all).

        Raises:
            ValueError: An unknown operation.
        """
        super().__init__(points, n_classes, at)
        if operation not in ("gate", "sum"):
            raise ValueError(f"conv_mmtm: operation is 'gate' or 'sum', found {operation!r}")
        self.operation = operation
        gated = gated_streams(is_gated, self.n_streams)
        self.transfers = nn.ModuleDict({
            str(depth): _Transfer(self.points[depth].channels, gated, reduction)
            for depth in self.at
        })  # fmt: skip

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Gated or summed streams; the excitations go into the state."""
        excitations: list[Tensor | None] = self.transfers[str(depth)](features)
        state.excitations.extend(e for e in excitations if e is not None)
        return [
            x if e is None else self._applied(x, e)
            for x, e in zip(features, excitations, strict=True)
        ]

    def _applied(self, x: Tensor, excitation: Tensor) -> Tensor:
        return x + excitation if self.operation == "sum" else x * 2 * torch.sigmoid(excitation)


class _Transfer(nn.Module):
    """Streams -> an excitation in the shape of each, None for those that stay as they are."""

    def __init__(
        self, channels: tuple[int, ...], is_gated: tuple[bool, ...], reduction: int
    ) -> None:
        super().__init__()
        n_joint = max(1, sum(channels) // reduction)
        self.squeeze = nn.Linear(sum(channels), n_joint)
        self.excite = nn.ModuleList(
            zero_linear(n_joint, n) if is_changed else nn.Identity()
            for n, is_changed in zip(channels, is_gated, strict=True)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor | None]:
        joints: dict[torch.Size, Tensor] = {}  # aligned streams share one
        excitations: list[Tensor | None] = []
        for x, excite in zip(features, self.excite, strict=True):
            if not isinstance(excite, nn.Linear):
                excitations.append(None)
                continue
            if x.shape[2:] not in joints:
                everything = joined_at_places_of(x, features)
                joints[x.shape[2:]] = torch.relu(pointwise(self.squeeze, everything))
            excitations.append(pointwise(excite, joints[x.shape[2:]]))
        return excitations
