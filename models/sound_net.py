"""Speech enhancement by sound alone, for clips in which no mouth is to be seen."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.agreement import Heard
from models.bin_refiner import BinRefiner
from models.mask_sparing import as_heard
from models.phase_refiner import PhaseRefiner
from models.sound_tower import TimeBlock, spectrum_blocks

FOLD = 4
"""Neighbouring bins that become channels, so that the convolutions stay small."""
TIME_STRIDES = (1, 2, 2, 1)
"""How much each level shortens time; each but the first halves the bands."""


@dataclass(frozen=True, slots=True)
class SoundNetConfig:
    """Shape of the network.

    Attributes:
        n_bins: STFT bins of the mask.
        widths: Channels of the four levels.
        n_bottleneck: Channels of the blocks over time.
        dilations: One residual block over time each, at 25 steps a second.
        level_dilations: One residual block over time and bands each, at every level of the decoder.
        phase_dilations: One residual block each of a `PhaseRefiner`; without any the voice has the
            phase of the noisy sound.
        n_phase_bins: Lowest bins that have a phase of their own.
        n_phase_channels: Channels of the phase refiner.
        mask_power: As in `AvseConfig`.
        spares_db: As in `AvseConfig`.
    """

    n_bins: int = 321
    widths: tuple[int, ...] = (32, 48, 64, 96)
    n_bottleneck: int = 256
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2, 4, 8)
    level_dilations: tuple[int, ...] = ()
    phase_dilations: tuple[int, ...] = ()
    n_phase_bins: int = 48
    n_phase_channels: int = 96
    mask_power: float = 1.0
    spares_db: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Accept what JSON gives.

        Raises:
            ValueError: There are not as many widths as levels, or the first is not as wide as what
                a phase refiner is told.
        """
        for name in ("widths", "dilations", "level_dilations", "phase_dilations", "spares_db"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.widths) != len(TIME_STRIDES):
            raise ValueError(f"widths: expected {len(TIME_STRIDES)}, found {len(self.widths)}")
        if self.phase_dilations and self.widths[0] != BinRefiner.N_FEATURES:
            wanted = BinRefiner.N_FEATURES
            raise ValueError(f"widths: expected {wanted} first for a phase, found {self.widths[0]}")


class SoundNet(nn.Module):
    """Predicts a ratio mask that keeps every voice and takes away what is no voice.

    `X_enh = M * X_mix` on magnitudes, as in `AvseNet`, but from the spectrum at its full
    resolution: a strided encoder, blocks over time, and a decoder to which each level of the
    encoder is added. With `phase_dilations` a `PhaseRefiner` makes it a complex mask of the lowest
    bins.

    Reference:
        The shape is that of Ronneberger et al., U-Net, MICCAI 2015, with the dilated blocks of
        Bai et al., arXiv:1803.01271, in the middle; both look ahead as well as back.
    """

    def __init__(self, config: SoundNetConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.config = config
        widths = config.widths
        strides = [(time, 1 if level == 0 else 2) for level, time in enumerate(TIME_STRIDES)]
        n_halvings = len(TIME_STRIDES) - 1
        self._n_used = config.n_bins // (FOLD * 2**n_halvings) * FOLD * 2**n_halvings
        self._n_deepest = self._n_used // (FOLD * 2**n_halvings)
        self.level = nn.BatchNorm2d(FOLD)
        self.encoder = nn.ModuleList(
            _conv(n_in, n_out, stride)
            for n_in, n_out, stride in zip((FOLD, *widths), widths, strides, strict=False)
        )
        n_flat = widths[-1] * self._n_deepest
        self.into = nn.Conv1d(n_flat, config.n_bottleneck, 1)
        self.blocks = nn.ModuleList(TimeBlock(config.n_bottleneck, d) for d in config.dilations)
        self.out_of = nn.Conv1d(config.n_bottleneck, n_flat, 1)
        self.mixers = nn.ModuleList(_conv(n, n) for n in widths)
        self.level_blocks = spectrum_blocks(widths, config.level_dilations)
        self.doublers = nn.ModuleList(
            nn.ConvTranspose2d(n_in, n_out, stride, stride)
            for n_out, n_in, stride in zip(widths, widths[1:], strides[1:], strict=False)
        )
        self.last = nn.Sequential(
            _conv(widths[0] + FOLD, widths[0]), nn.Conv2d(widths[0], FOLD, 3, padding=1)
        )
        if config.phase_dilations:
            self.phase = PhaseRefiner(
                config.n_phase_bins, config.n_phase_channels, config.phase_dilations
            )

    @property
    def sees(self) -> bool:
        """It uses no mouth."""
        return False

    def encode_visual(self, crops: Tensor) -> list[Tensor]:
        """Nothing, whatever there is to see."""
        return []

    def forward(self, magnitude: Tensor) -> Tensor:
        """Mask `[B, T, F]` in 0..1 for magnitudes `[B, T, F]`, T a multiple of four."""
        return self.unturned(magnitude)[0]

    def unturned(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """The mask of `forward`, and the features behind it, `[B, C1, T, F / FOLD]`."""
        loudness = torch.log(magnitude[..., : self._n_used] + 1e-4)
        loudness = self.level(rearrange(loudness, "b t (g k) -> b k t g", k=FOLD))
        x, skips = loudness, []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        x = self._over_time(x)
        for level in range(len(TIME_STRIDES) - 1, -1, -1):
            x = x + skips[level]
            x = self.level_blocks[level](x + self.mixers[level](x))
            if level:
                x = F.relu(self.doublers[level - 1](x))
        features = self.last[0](torch.cat([x, loudness], 1))
        x = rearrange(self.last[1](features), "b k t g -> b t (g k)")
        n_left = magnitude.shape[2] - self._n_used
        return torch.sigmoid(F.pad(x, (0, n_left), mode="replicate")), features

    def turned(self, mask: Tensor, spectrum: Tensor, features: Tensor) -> Tensor:
        """A mask as it is heard: complex where there is a phase refiner.

        Args:
            mask: `[B, T, F]` in 0..1, from `unturned`.
            spectrum: `[B, T, F]` complex, of the noisy sound.
            features: From `unturned`.
        """
        if not self.config.phase_dilations:
            return mask
        heard: Tensor = self.phase(mask, spectrum, features)
        return heard

    def _over_time(self, x: Tensor) -> Tensor:
        y: Tensor = self.into(rearrange(x, "b c v f -> b (c f) v"))
        for block in self.blocks:
            y = block(y)
        y = self.out_of(y)
        return rearrange(y, "b (c f) v -> b c v f", f=self._n_deepest)

    def hear(
        self, log_mel: Tensor, spectrum: Tensor, visual: list[Tensor], is_visible: Tensor
    ) -> Heard:
        """As `AvseNet.hear`; of its arguments only the spectrum counts."""
        magnitude = spectrum.abs()
        mask, features = self.unturned(magnitude)
        opened = as_heard(mask, magnitude, self.config.mask_power, self.config.spares_db)
        return Heard.surely(self.turned(opened, spectrum, features))


def _conv(n_in: int, n_out: int, stride: tuple[int, int] = (1, 1)) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
