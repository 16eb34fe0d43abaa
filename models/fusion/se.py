"""Squeeze and excitation in each stream by itself, and late fusion: MMTM without the transfer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import (
    Fusion,
    FusionPoint,
    FusionState,
    gated_streams,
    pooled,
    spread,
    zero_linear,
)


class SeFusion(Fusion):
    """Each stream gates its own channels; the streams meet in the mean of their logits.

        out_m = 2 * sigmoid(W2_m ReLU(W1_m S_m)) * x_m

    A fresh module changes nothing.

    Reference:
        Hu et al., Squeeze-and-excitation networks, CVPR 2018; Joze et al., CVPR 2020, table 6.

    Differs:
        The gate is `2 * sigmoid`, as MMTM's, so that a fresh module is the identity. The reduction
        is 2, not 16: the joint width of MMTM is half the width of one of two equal streams, and
        only so do both have as many parameters, which table 6 says they have.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        reduction: int = 2,
        is_gated: Sequence[bool] | None = None,
    ) -> None:
        """Build one gate for each stream of `is_gated` (None = all) and depth of `at`."""
        super().__init__(points, n_classes, at)
        gated = gated_streams(is_gated, self.n_streams)
        self.gates = nn.ModuleDict({
            str(depth): nn.ModuleList(
                _Gate(n, reduction) if is_changed else nn.Identity()
                for n, is_changed in zip(self.points[depth].channels, gated, strict=True)
            )
            for depth in self.at
        })  # fmt: skip

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Streams that gated themselves; the excitations go into the state."""
        gates = self.gates[str(depth)]
        assert isinstance(gates, nn.ModuleList)
        return [
            self._gated(state, gate, x) if isinstance(gate, _Gate) else x
            for gate, x in zip(gates, features, strict=True)
        ]

    def _gated(self, state: FusionState, gate: "_Gate", x: Tensor) -> Tensor:
        excitation = gate(x)
        state.excitations.append(excitation)
        return x * spread(2 * torch.sigmoid(excitation), x)


class _Gate(nn.Module):
    """`[B, C, *spatial]` -> excitation `[B, C]`."""

    def __init__(self, n_channels: int, reduction: int) -> None:
        super().__init__()
        n_hidden = max(1, n_channels // reduction)
        self.squeeze = nn.Linear(n_channels, n_hidden)
        self.excite = zero_linear(n_hidden, n_channels)

    def forward(self, x: Tensor) -> Tensor:
        excitation: Tensor = self.excite(torch.relu(self.squeeze(pooled(x))))
        return excitation
