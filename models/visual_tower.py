"""3D convolution + ResNet-18 over mouth crops, time packed into the batch."""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class VisualTowerConfig:
    """Size of the tower.

    Attributes:
        widths: Channels of the four stages (the paper's ResNet-18: 64, 128, 256, 512).
        input_px: Crops are averaged down to this side before the first convolution; 0 keeps them.
        pixel_mean: Mean grey level of the training crops, 0..255.
        pixel_std: Standard deviation of the training crops, 0..255.
    """

    widths: tuple[int, ...] = (24, 48, 96, 192)
    input_px: int = 64
    pixel_mean: float = 110.0
    pixel_std: float = 45.0

    def __post_init__(self) -> None:
        """Accept the list that JSON gives."""
        object.__setattr__(self, "widths", tuple(self.widths))


class VisualTower(nn.Module):
    """Frame-by-frame features of a mouth at three depths.

    Reference:
        Stafylakis and Tzimiropoulos, Combining residual networks with LSTMs for lipreading, 2017;
        Joze et al., section 4.2.

    Differs:
        Width and input size are settings: the paper's full width costs some fifteen times as much.
    """

    def __init__(self, config: VisualTowerConfig) -> None:
        """Build the stem and the four stages of two basic blocks."""
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Sequential(
            SlidingConv(1, widths[0], (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(BasicBlock(n_in, n, stride), BasicBlock(n, n, 1))
            for n_in, n, stride in zip(inputs, widths, (1, 2, 2, 2), strict=True)
        )

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the features that `forward` gives (the last three stages)."""
        return tuple(self.config.widths[1:])

    def forward(self, crops: Tensor) -> list[Tensor]:
        """Features after the second, third and fourth stage, averaged over the picture.

        Args:
            crops: `[B, V, H, W]` grey, 0..255 (uint8 or float).

        Returns:
            Three tensors `[B, V, C_i]`. An MMTM averages over height and width anyway, so pooled
            features give the same fusion as maps.
        """
        n_batch = crops.shape[0]
        x = self.pool(self.stem(self._normalise(crops)))
        features = []
        for stage in self.stages:
            x = stage(x)
            pooled = reduce(x, "(b v) c h w -> b v c", "mean", b=n_batch)
            features.append(pooled)
        return features[1:]

    def with_mirror(self, crops: Tensor) -> list[Tensor]:
        """Means of the features of the pictures and of their mirror images; as in `forward`."""
        pairs = zip(self(crops), self(crops.flip(3)), strict=True)
        return [(own.float() + other.float()) / 2 for own, other in pairs]

    def _normalise(self, crops: Tensor) -> Tensor:
        x = crops.float()
        size = self.config.input_px
        if size and x.shape[-1] != size:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        return (x - self.config.pixel_mean) / self.config.pixel_std


class SlidingConv(nn.Conv3d):
    """A convolution over time and picture of one channel; time joins the batch, channels last.

    In bfloat16 the pictures that a kernel reaches become the channels of a convolution over height
    and width: the same sums in half the time on a CPU. In float32 that is slower.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, V, H, W]` to `[(B V), C, H / stride, W / stride]`."""
        if not torch.is_autocast_enabled(x.device.type):
            found = rearrange(super().forward(x[:, None]), "b c v h w -> (b v) h w c")
            return found.contiguous().permute(0, 3, 1, 2)
        n_reached, n_beside = self.kernel_size[0], int(self.padding[0])
        padded = F.pad(x, (0, 0, 0, 0, n_beside, n_beside))
        reached = rearrange(padded.unfold(1, n_reached, 1), "b v h w k -> (b v) h w k")
        pictures = reached.permute(0, 3, 1, 2)
        return F.conv2d(pictures, self.weight[:, 0], self.bias, self.stride[1:], self.padding[1:])


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al., 2016)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        """Build the block; the shortcut is a 1x1 convolution where shapes differ."""
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, C_in, H, W]` to `[N, C_out, H / stride, W / stride]`."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)
