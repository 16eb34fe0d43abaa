"""Multimodal split attention fusion: the channel blocks of all streams compete for attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.fusion.base import Fusion, FusionPoint, FusionState, pooled


@dataclass(frozen=True, slots=True)
class MsafConfig:
    """Shape of the attention.

    Attributes:
        block_channels: `C_b` at each depth of `at`, or one for all; None = half of the narrowest
            stream, which gives the paper's 64 and 256 (action) and 16 and 32 (emotion).
        lowest: Attention `a` becomes `lowest + (1 - lowest) a`; 1 switches the fusion off.
        reduction: The joint vector has `C_b / reduction` units.
        n_segments: 1 averages all places (maps); more cut the first spatial axis, which is then
            time, into so many segments with an attention each (sequences).
        block_dropout: Share of blocks that training leaves out.
    """

    block_channels: int | tuple[int, ...] | None = None
    lowest: float = 0.5
    reduction: int = 4
    n_segments: int = 1
    block_dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: `lowest` or the dropout outside 0..1, or less than one segment.
        """
        if isinstance(self.block_channels, list):
            object.__setattr__(self, "block_channels", tuple(self.block_channels))
        if not 0 <= self.lowest <= 1 or not 0 <= self.block_dropout < 1 or self.n_segments < 1:
            raise ValueError(f"msaf: expected lowest and dropout in 0..1, segments, found {self}")

    def width(self, index: int, point: FusionPoint) -> int:
        """`C_b` at the index-th fused depth."""
        if self.block_channels is None:
            return max(1, min(point.channels) // 2)
        if isinstance(self.block_channels, int):
            return self.block_channels
        return self.block_channels[index]


class MsafFusion(Fusion):
    """Split attention at each depth, the mean of the logits at the end.

    Reference:
        Su, Hu et al., MSAF: Multimodal split attention fusion, 2020.

    Differs:
        The authors' code pads the last spatial axis where the channels do not divide into blocks;
        here the channels are padded. The linear layer before the batch norm has no bias, which
        the norm would take away again.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        """Build the attentions; `settings` are the fields of `MsafConfig`.

        Raises:
            ValueError: What `MsafConfig` refuses, or widths for another number of depths.
        """
        super().__init__(points, n_classes, at)
        self.config = config = MsafConfig(**settings)
        widths = config.block_channels
        if isinstance(widths, tuple) and len(widths) != len(self.at):
            raise ValueError(f"msaf: {len(widths)} block_channels for {len(self.at)} depths")
        self.attentions = nn.ModuleDict({
            str(depth): nn.ModuleList(
                _Attention(
                    self.points[depth].channels, config.width(index, self.points[depth]), config
                )
                for _ in range(config.n_segments)
            )
            for index, depth in enumerate(self.at)
        })  # fmt: skip

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Attended features, segment by segment.

        Raises:
            ValueError: A stream has fewer steps than there are segments.
        """
        attentions = self.attentions[str(depth)]
        assert isinstance(attentions, nn.ModuleList)
        n_segments = self.config.n_segments
        if n_segments == 1:
            attended: list[Tensor] = attentions[0](features)
            return attended
        if any(x.dim() < 3 or x.shape[2] < n_segments for x in features):
            shapes = [tuple(x.shape) for x in features]
            raise ValueError(f"msaf: {n_segments} segments do not fit into {shapes}")
        cut = [torch.tensor_split(x, n_segments, dim=2) for x in features]
        parts = [attend(list(x)) for attend, *x in zip(attentions, *cut, strict=True)]
        return [torch.cat(pieces, 2) for pieces in zip(*parts, strict=True)]


class _Attention(nn.Module):
    """Streams -> the same streams, each channel of each block weighted against the other blocks."""

    def __init__(self, channels: tuple[int, ...], n_block: int, config: MsafConfig) -> None:
        super().__init__()
        self.config = config
        self.n_block = n_block
        self.n_blocks = [-(-n // n_block) for n in channels]
        n_joint = max(1, n_block // config.reduction)
        self.squeeze = nn.Linear(n_block, n_joint, bias=False)
        self.norm = nn.BatchNorm1d(n_joint)
        self.attend = nn.ModuleList(nn.Linear(n_joint, n * n_block) for n in self.n_blocks)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        blocks = [self._split(x, n) for x, n in zip(features, self.n_blocks, strict=True)]
        blocks = [self._thinned(x) for x in blocks]  # each [B, N, C_b, *spatial]
        squeezed = torch.stack([pooled(x.sum(1)) for x in blocks]).sum(0)  # [B, C_b]
        joint = torch.relu(self.norm(self.squeeze(squeezed)))
        scores = [attend(joint).unflatten(1, (-1, self.n_block)) for attend in self.attend]
        share = torch.cat(scores, 1).softmax(1)  # over the blocks of all streams
        weights = self.config.lowest + (1 - self.config.lowest) * share
        return [
            (x * w.reshape(*w.shape, *[1] * (x.dim() - 3))).flatten(1, 2)[:, : given.shape[1]]
            for x, w, given in zip(
                blocks, torch.split_with_sizes(weights, self.n_blocks, 1), features, strict=True
            )
        ]

    def _split(self, x: Tensor, n_blocks: int) -> Tensor:
        """`[B, C, *spatial]` -> `[B, N, C_b, *spatial]`, the last block filled up with zeros."""
        n_missing = n_blocks * self.n_block - x.shape[1]
        padded = F.pad(x, (0, 0) * (x.dim() - 2) + (0, n_missing))
        return padded.reshape(x.shape[0], n_blocks, self.n_block, *x.shape[2:])

    def _thinned(self, blocks: Tensor) -> Tensor:
        """Whole blocks left out, the others scaled up to make good for them."""
        if not self.training or self.config.block_dropout == 0:
            return blocks
        keep = blocks.new_ones(blocks.shape[:2] + (1,) * (blocks.dim() - 2))
        return blocks * F.dropout(keep, self.config.block_dropout)
