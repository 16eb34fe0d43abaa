"""The Multimodal Transfer Module: squeeze and excitation across modalities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Squeeze = Literal["clip", "frame"]


@dataclass(frozen=True, slots=True)
class MmtmConfig:
    """Shape of one transfer module.

    Attributes:
        channels: Channels of each modality, in the order of `forward`.
        squeeze: `clip` averages every axis but batch and channel (the paper's sentence read
            literally); `frame` keeps the first spatial axis, which is then time.
        reduction: The joint representation has `sum(channels) / reduction` units (paper: 4).
        is_gated: Which modalities are recalibrated; None = all. In speech enhancement the paper
            gates the audio tower only.
    """

    channels: tuple[int, ...]
    squeeze: Squeeze = "clip"
    reduction: int = 4
    is_gated: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: Fewer than two modalities, or `is_gated` of another length.
        """
        if len(self.channels) < 2:
            raise ValueError(f"MMTM: expected 2 or more modalities, found {len(self.channels)}")
        if self.is_gated is not None and len(self.is_gated) != len(self.channels):
            raise ValueError(f"MMTM: is_gated names {len(self.is_gated)} of {len(self.channels)}")
        if self.squeeze not in ("clip", "frame"):
            raise ValueError(f"MMTM: squeeze is 'clip' or 'frame', found {self.squeeze!r}")


class MMTM(nn.Module):
    """Recalibrates the channels of N streams by what all of them saw together.

    With `S_m` the average of stream m over its spatial axes,

        Z = ReLU(W [S_1, ..., S_N] + b)      C_Z = sum(C_m) / 4
        E_m = W_m Z + b_m
        out_m = 2 * sigmoid(E_m) * x_m       (channel-wise)

    A module with zeroed excitation weights is the identity, for 2 * sigmoid(0) = 1; it starts so.

    Reference:
        Joze et al., MMTM, CVPR 2020, section 3.

    Differs:
        The squeeze may keep time (`squeeze="frame"`), and the ReLU after the squeeze, which the
        paper's equation leaves out, is the one of its code: without it both maps are one linear
        map. Every gated stream is returned; the authors' code drops some.
    """

    def __init__(self, config: MmtmConfig) -> None:
        """Build the maps; excitations start at zero."""
        super().__init__()
        self.config = config
        n_joint = max(1, sum(config.channels) // config.reduction)
        self.squeeze = nn.Linear(sum(config.channels), n_joint)
        gates = config.is_gated or (True,) * len(config.channels)
        self.excite = nn.ModuleList(
            _zero_linear(n_joint, n) if is_gated else nn.Identity()
            for n, is_gated in zip(config.channels, gates, strict=True)
        )
        self._gates = gates

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Recalibrated features, same order and shapes as given.

        Args:
            features: One tensor a modality, `[B, C_m, *spatial]` of any spatial rank (0 too). With
                `squeeze="frame"` the first spatial axis is time, and every length is a multiple
                of the shortest.

        Raises:
            ValueError: The number of streams, their channels or their lengths do not fit.
        """
        return self.recalibrate(features, self.excitations(features))

    def excitations(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """`E_m` before the sigmoid, `[B, C_m]` or `[B, C_m, V]`; None for streams not gated."""
        self._check(features)
        if self.config.squeeze == "clip":
            squeezed = [x.flatten(2).mean(2) if x.dim() > 2 else x for x in features]
            joint = torch.relu(self.squeeze(torch.cat(squeezed, 1)))  # [B, C_Z]
            return [e(joint) if g else None for e, g in zip(self.excite, self._gates, strict=True)]
        n_frames = min(x.shape[2] for x in features)
        per_frame = [_frame_means(x, n_frames) for x in features]  # each [B, V, C_m]
        joint = torch.relu(self.squeeze(torch.cat(per_frame, 2)))  # [B, V, C_Z]
        return [
            e(joint).transpose(1, 2) if g else None
            for e, g in zip(self.excite, self._gates, strict=True)
        ]

    def recalibrate(
        self, features: Sequence[Tensor], excitations: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Multiply each gated stream by `2 * sigmoid(E_m)`."""
        return [
            x if e is None else x * _spread(2 * torch.sigmoid(e), x)
            for x, e in zip(features, excitations, strict=True)
        ]

    def _check(self, features: Sequence[Tensor]) -> None:
        found = tuple(x.shape[1] for x in features)
        if found != self.config.channels:
            raise ValueError(f"MMTM: expected channels {self.config.channels}, found {found}")


def excitation_penalty(excitations: Sequence[Tensor | None]) -> Tensor:
    """Mean square of the excitations: pulls every gate toward 1 (the paper's regulariser).

    Raises:
        ValueError: No stream is gated.
    """
    present = [e.square().mean() for e in excitations if e is not None]
    if not present:
        raise ValueError("excitation_penalty: expected a gated stream, found none")
    return torch.stack(present).mean()


def _zero_linear(n_in: int, n_out: int) -> nn.Linear:
    linear = nn.Linear(n_in, n_out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _frame_means(x: Tensor, n_frames: int) -> Tensor:
    n_batch, n_channels, n_time = x.shape[:3]
    if n_time % n_frames:
        raise ValueError(f"MMTM: {n_time} steps are not a multiple of {n_frames} frames")
    return x.reshape(n_batch, n_channels, n_frames, -1).mean(3).transpose(1, 2)  # [B, V, C]


def _spread(gate: Tensor, x: Tensor) -> Tensor:
    """Gate `[B, C]` or `[B, C, V]` shaped to multiply `x` `[B, C, T, ...]`."""
    if gate.dim() == 3 and x.shape[2] != gate.shape[2]:
        gate = gate.repeat_interleave(x.shape[2] // gate.shape[2], dim=2)
    return gate.reshape(gate.shape + (1,) * (x.dim() - gate.dim()))
