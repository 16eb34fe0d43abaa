"""The sound autoencoder: strided encoder, blocks over time, decoder with skips."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = ((1, 2), (2, 2), (1, 2), (2, 2))  # (time, mel): together 4 and 16


class SoundEncoder(nn.Module):
    """Log-mel `[B, 1, T, M]` to `[B, C4, T/4, M/16]`.

    Reference:
        Michelsanti et al., ICASSP 2019, whose encoder the MMTM paper follows.
    """

    def __init__(self, widths: tuple[int, ...], dilations: tuple[int, ...] = ()) -> None:
        """Four convolutions, the second and the fourth halve time; a block each for `dilations`."""
        super().__init__()
        self.level = nn.BatchNorm2d(1)
        inputs = (1, *widths[:-1])
        self.layers = nn.ModuleList(
            _conv(n_in, n_out, stride)
            for n_in, n_out, stride in zip(inputs, widths, STRIDES, strict=True)
        )
        self.level_blocks = spectrum_blocks(widths, dilations)

    def forward(self, x: Tensor, hint: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Deepest features, and those of every layer for the decoder (first layer first).

        A hint `[B, C1, T, M/2]` is added to what the first convolution finds.
        """
        x = self.level(x)
        skips: list[Tensor] = []
        for layer, blocks in zip(self.layers, self.level_blocks, strict=True):
            assert isinstance(layer, nn.Sequential)
            x = layer[0](x)
            if hint is not None and not skips:
                x = x + hint
            x = blocks(layer[1:](x))
            skips.append(x)
        return x, skips


class SoundDecoder(nn.Module):
    """The encoder's mirror: `[B, C4, T/4, M/16]` back to `[B, C1 / 2, T, M]`."""

    def __init__(self, widths: tuple[int, ...], dilations: tuple[int, ...] = ()) -> None:
        """Each level joins the skip, mixes it and doubles what the encoder halved.

        A mixer is followed by one block each for `dilations`.
        """
        super().__init__()
        outputs = (widths[0] // 2, *widths[:-1])
        self.mixers = nn.ModuleList(_conv(2 * n, n, (1, 1)) for n in widths)
        self.doublers = nn.ModuleList(
            nn.ConvTranspose2d(n_in, n_out, stride, stride)
            for n_in, n_out, stride in zip(widths, outputs, STRIDES, strict=True)
        )
        self.level_blocks = spectrum_blocks(widths, dilations)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        """Decode with the encoder's skips (first layer first)."""
        levels = zip(skips, self.mixers, self.level_blocks, self.doublers, strict=True)
        for skip, mixer, blocks, doubler in reversed(list(levels)):
            x = blocks(mixer(torch.cat([x, skip], 1)))
            x = F.relu(doubler(x))
        return x


class TimeBlock(nn.Module):
    """Residual dilated convolution over time, `[B, C, V]` to the same."""

    def __init__(self, n_channels: int, dilation: int, *, starts_open: bool = False) -> None:
        """Two convolutions of three steps, the first dilated.

        With `starts_open` a fresh block changes nothing in what is not negative, so that it can be
        put into a trained network.
        """
        super().__init__()
        self.conv1 = nn.Conv1d(
            n_channels, n_channels, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.norm1 = nn.BatchNorm1d(n_channels)
        self.conv2 = nn.Conv1d(n_channels, n_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm1d(n_channels)
        if starts_open:
            nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the neighbours in time say."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(x + self.norm2(self.conv2(y)))


class SpectrumBlock(nn.Module):
    """Residual convolutions over time and bands, `[B, C, T, M]` to the same.

    A fresh block changes nothing, so that it can be put into a trained network.
    """

    def __init__(self, n_channels: int, dilation: int) -> None:
        """Two convolutions of 3 x 3, the first dilated in time."""
        super().__init__()
        self.conv1 = nn.Conv2d(
            n_channels, n_channels, 3, padding=(dilation, 1), dilation=(dilation, 1), bias=False
        )
        self.norm1 = nn.BatchNorm2d(n_channels)
        self.conv2 = nn.Conv2d(n_channels, n_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_channels)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the neighbours in time and in frequency say."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        added: Tensor = self.norm2(self.conv2(y))
        return x + added


def spectrum_blocks(widths: tuple[int, ...], dilations: tuple[int, ...]) -> nn.ModuleList:
    """At each level one block after another, as many as there are dilations."""
    return nn.ModuleList(nn.Sequential(*(SpectrumBlock(n, d) for d in dilations)) for n in widths)


def _conv(n_in: int, n_out: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
