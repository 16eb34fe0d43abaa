"""A small network that finds the 20 mouth points and five face points of one face."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Self, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

N_MOUTH_POINTS = 20
N_FACE_POINTS = 5
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_CORNER, RIGHT_CORNER = range(N_MOUTH_POINTS, N_MOUTH_POINTS + 5)
_GREY_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class MouthLandmarksConfig:
    """Shape of the network and of the region it looks at.

    Attributes:
        face_px: Side of the square face crop.
        box_enlargement: Side of the region around a detector's box, in sides of the box's longer
            edge; the centre is the box's own.
        stem_channels: Channels after the first stride.
        stage_channels: Channels at strides 4, 8 and 16.
        stage_blocks: Residual blocks at strides 4, 8 and 16.
        heat_channels: Channels in which the three strides are added.
    """

    face_px: int = 96
    box_enlargement: float = 1.15
    stem_channels: int = 24
    stage_channels: tuple[int, int, int] = (40, 96, 128)
    stage_blocks: tuple[int, int, int] = (1, 2, 1)
    heat_channels: int = 48

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: The crop is not a multiple of 16, or a list has not three entries.
        """
        if self.face_px < 16 or self.face_px % 16:
            raise ValueError(f"face_px: expected a multiple of 16, found {self.face_px}")
        if len(self.stage_channels) != 3 or len(self.stage_blocks) != 3:
            raise ValueError("stage_channels, stage_blocks: expected three entries each")
        for name in ("stage_channels", "stage_blocks"):  # JSON brings lists
            object.__setattr__(self, name, tuple(getattr(self, name)))


class _NormedConv(nn.Sequential):
    def fused(self) -> nn.Conv2d:
        conv, norm = self
        return fuse_conv_bn_eval(cast("nn.Conv2d", conv), cast("nn.BatchNorm2d", norm))


def _conv(n_in: int, n_out: int, size: int = 3, stride: int = 1) -> _NormedConv:
    conv = nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False)
    return _NormedConv(conv, nn.BatchNorm2d(n_out))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(n_in, n_out, stride=stride)
        self.second = _conv(n_out, n_out)
        same = stride == 1 and n_in == n_out
        self.shortcut = nn.Identity() if same else _conv(n_in, n_out, size=1, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.shortcut(maps) + self.second(F.relu(self.first(maps))))


def _stage(n_in: int, n_out: int, n_blocks: int) -> nn.Sequential:
    blocks = [_Block(n_in, n_out, stride=2)]
    return nn.Sequential(*blocks, *(_Block(n_out, n_out, 1) for _ in range(n_blocks - 1)))


class MouthLandmarksNet(nn.Module):
    """Mouth and face points of a face crop.

    A residual tower at strides 4, 8 and 16; the three are added at stride 4 and give one heat map
    a point, whose expectation is the point. A linear map of the coarsest features is added, so
    that points beyond the crop's edge can be reached.

    Args:
        config: Sizes; `MouthLandmarksConfig()` is what ships.
    """

    def __init__(self, config: MouthLandmarksConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config
        n_points = N_MOUTH_POINTS + N_FACE_POINTS
        fine, middle, coarse = config.stage_channels
        blocks = config.stage_blocks
        self.stem = _conv(1, config.stem_channels, size=5, stride=2)
        self.fine = _stage(config.stem_channels, fine, blocks[0])
        self.middle = _stage(fine, middle, blocks[1])
        self.coarse = _stage(middle, coarse, blocks[2])
        self.laterals = nn.ModuleList(
            _conv(n_in, config.heat_channels, size=1) for n_in in config.stage_channels
        )
        self.merge = _conv(config.heat_channels, config.heat_channels)
        self.heat = nn.Conv2d(config.heat_channels, n_points, 1)
        self.squeeze = _conv(coarse, 16, size=1)
        self.shift = nn.Linear(16 * (config.face_px // 16) ** 2, 2 * n_points)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)

    def channels_last(self) -> Self:
        """Itself, with the weights in the memory order that is fast on CPUs."""
        return self.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def fused(self) -> Self:
        """A copy for inference whose normalisations are folded into the convolutions."""
        net = deepcopy(self).eval()
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, _NormedConv):
                    setattr(parent, name, child.fused())
        return net.channels_last()

    def forward(self, faces: Tensor) -> Tensor:
        """Find the points.

        Args:
            faces: `[B, H, W]` or `[B, 1, H, W]` grey, or `[B, 3, H, W]` RGB; uint8, or float in
                0..255; H = W = `config.face_px`.

        Returns:
            `[B, 25, 2]` x and y in crop units (0..1 from edge to edge): mouth points iBUG 48-67,
            then left eye, right eye, nose, left and right mouth corner, as the viewer sees them.

        Raises:
            ValueError: The crops are of another size.
        """
        return self.points_and_heat(faces)[0]

    def points_and_heat(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Points as `forward`, and log-probabilities `[B, 25, h * w]` of the heat maps."""
        maps = F.relu(self.stem(self._normalised(faces)))  # [B, C, H/2, W/2]
        fine = self.fine(maps)  # [B, C, H/4, W/4]
        middle = self.middle(fine)  # [B, C, H/8, W/8]
        coarse = self.coarse(middle)  # [B, C, H/16, W/16]
        heat = self.heat(self._merged(fine, middle, coarse))  # [B, 25, H/4, W/4]
        n_cells = heat.shape[-1]
        log_heat = F.log_softmax(rearrange(heat, "b p h w -> b p (h w)"), dim=-1)
        squeezed = rearrange(F.relu(self.squeeze(coarse)), "b c h w -> b (c h w)")
        shift = rearrange(self.shift(squeezed), "b (p d) -> b p d", d=2)
        return log_heat.exp() @ cell_centres(n_cells, heat) + shift, log_heat

    def _merged(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        merged = self.laterals[2](coarse)
        merged = self.laterals[1](middle) + F.interpolate(merged, scale_factor=2.0)
        merged = self.laterals[0](fine) + F.interpolate(merged, scale_factor=2.0)
        return F.relu(self.merge(F.relu(merged)))

    def _normalised(self, faces: Tensor) -> Tensor:
        side_px = self.config.face_px
        if faces.ndim == 3:
            faces = faces[:, None]  # [B, 1, H, W]
        if faces.ndim != 4 or faces.shape[1] not in (1, 3) or faces.shape[2:] != (side_px,) * 2:
            found = tuple(faces.shape)
            raise ValueError(f"faces: expected [B, (1 or 3), {side_px}, {side_px}], found {found}")
        grey = faces.float()
        if grey.shape[1] == 3:
            weights = torch.tensor(_GREY_WEIGHTS, device=grey.device)
            grey = torch.einsum("bchw,c->bhw", grey, weights)[:, None]  # [B, 1, H, W]
        deviation, mean = torch.std_mean(grey, dim=(1, 2, 3), keepdim=True)
        normalised = (grey - mean) / (deviation + 4.0)
        return normalised.contiguous(memory_format=torch.channels_last)


def cell_centres(n_cells: int, like: Tensor) -> Tensor:
    """`[n_cells * n_cells, 2]` x and y of a square map's cells, crop units, rows first."""
    line = (torch.arange(n_cells, device=like.device, dtype=like.dtype) + 0.5) / n_cells
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((columns.flatten(), rows.flatten()), dim=-1)
