"""Whether a mouth crop shows a mouth at all: a hand, a microphone or the dark may be before it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class MouthClarityConfig:
    """Shape of the network.

    Attributes:
        crop_px: Side of the centre crop that is looked at; it is halved first.
        widths: Channels of the three strided convolutions.
        n_hidden: Units between the last of them and the answer.
    """

    crop_px: int = 112
    widths: tuple[int, ...] = (16, 32, 64)
    n_hidden: int = 64

    def __post_init__(self) -> None:
        """Accept what JSON gives.

        Raises:
            ValueError: The side is not a multiple of 16.
        """
        if self.crop_px < 16 or self.crop_px % 16:
            raise ValueError(f"crop_px: expected a multiple of 16, found {self.crop_px}")
        object.__setattr__(self, "widths", tuple(self.widths))


class MouthClarityNet(nn.Module):
    """How sure it is that lips are to be seen, picture by picture.

    It sees each crop twice: as it is, for the dark, and with its contrast evened.
    """

    def __init__(self, config: MouthClarityConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for n_in, n_out in zip((2, *config.widths), config.widths, strict=False):
            layers += [nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), nn.BatchNorm2d(n_out)]
            layers += [nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        n_cells = -(-config.crop_px // 16)
        self.hidden = nn.Linear(config.widths[-1] * n_cells**2, config.n_hidden)
        self.answer = nn.Linear(config.n_hidden, 1)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits `[B]`, above 0 where lips are to be seen.

        Args:
            crops: `[B, H, W]` grey, 0..255 (uint8 or float), at least `crop_px` a side.

        Raises:
            ValueError: The crops are smaller.
        """
        side = self.config.crop_px
        if crops.ndim != 3 or min(crops.shape[1:]) < side:
            found = tuple(crops.shape)
            raise ValueError(f"crops: expected [B, {side} or more, {side} or more], found {found}")
        top, left = (crops.shape[1] - side) // 2, (crops.shape[2] - side) // 2
        grey = crops[:, None, top : top + side, left : left + side].float()
        grey = F.avg_pool2d(grey, 2)
        deviation, mean = torch.std_mean(grey, dim=(2, 3), keepdim=True)
        seen = torch.cat([grey / 128 - 1, (grey - mean) / (deviation + 2)], 1)
        maps = self.convolutions(seen)
        flat = F.relu(self.hidden(rearrange(maps, "b c h w -> b (c h w)")))
        logits: Tensor = self.answer(F.dropout(flat, 0.2, self.training)).squeeze(1)
        return logits
