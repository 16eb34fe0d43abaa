"""Lips and sound in one space: which sound belongs to which moment of which mouth."""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from models.visual_tower import VisualTower, VisualTowerConfig


@dataclass(frozen=True, slots=True)
class LipSyncConfig:
    """Sizes of the two towers.

    Attributes:
        visual: The mouth tower; its features at every depth also feed the enhancer.
        n_embedding: Length of the common embedding of one video frame.
        n_mels: Mel bands of the sound.
        audio_widths: Channels of the sound tower's stages.
    """

    visual: VisualTowerConfig = field(default_factory=VisualTowerConfig)
    n_embedding: int = 128
    n_mels: int = 80
    audio_widths: tuple[int, ...] = (24, 48, 96, 192)

    def __post_init__(self) -> None:
        """Accept what JSON gives: a dict for `visual`, a list for the widths."""
        if isinstance(self.visual, dict):
            object.__setattr__(self, "visual", VisualTowerConfig(**self.visual))
        object.__setattr__(self, "audio_widths", tuple(self.audio_widths))


class LipSync(nn.Module):
    """Two towers whose frame-by-frame embeddings agree where lips and sound belong together."""

    def __init__(self, config: LipSyncConfig) -> None:
        """Build both towers."""
        super().__init__()
        self.config = config
        self.visual = VisualTower(config.visual)
        n_features = sum(self.visual.feature_channels)
        self.visual_head = TemporalHead(n_features, config.n_embedding)
        self.audio = SoundTower(config)
        self.audio_head = TemporalHead(self.audio.n_features, config.n_embedding)
        self.log_temperature = nn.Parameter(torch.tensor(2.7))

    def embed_video(self, crops: Tensor) -> Tensor:
        """Unit vectors of the mouth.

        Args:
            crops: `[B, V, H, W]` grey, 0..255.

        Returns:
            `[B, V, D]`, each of length 1.
        """
        return self.embed_features(self.visual(crops))

    def embed_features(self, features: list[Tensor]) -> Tensor:
        """Unit vectors `[B, V, D]` from the visual tower's pooled features `[B, V, C_i]`."""
        return F.normalize(self.visual_head(torch.cat(features, 2)), dim=2)

    def embed_audio(self, log_mel: Tensor) -> Tensor:
        """Unit vectors of the sound.

        Args:
            log_mel: `[B, T, M]`, T = 4 V.

        Returns:
            `[B, V, D]`, each of length 1.
        """
        return F.normalize(self.audio_head(self.audio(log_mel)), dim=2)


class SoundTower(nn.Module):
    """Log-mel `[B, 4V, M]` to features `[B, V, C]`: 2D convolutions, two of them halve time."""

    def __init__(self, config: LipSyncConfig) -> None:
        """Build the sound's tower."""
        super().__init__()
        w = config.audio_widths
        self.n_features = 2 * w[3]
        self.level = nn.BatchNorm1d(config.n_mels)
        self.layers = nn.Sequential(
            _conv(1, w[0], (2, 1)),  # [M/2, T]
            _conv(w[0], w[1], (2, 2)),  # [M/4, T/2]
            _conv(w[1], w[2], (2, 1)),
            _conv(w[2], w[3], (2, 2)),  # [M/16, T/4]
        )
        n_bands = config.n_mels // 16
        self.mix = nn.Sequential(
            nn.Conv1d(w[3] * n_bands, self.n_features, 1, bias=False),
            nn.BatchNorm1d(self.n_features),
            nn.ReLU(inplace=True),
        )

    def forward(self, log_mel: Tensor) -> Tensor:
        """Features, see the class."""
        x = self.level(rearrange(log_mel, "b t m -> b m t"))
        x = self.layers(rearrange(x, "b m t -> b 1 m t").contiguous())
        x = self.mix(rearrange(x, "b c m v -> b (c m) v"))
        features: Tensor = rearrange(x, "b c v -> b v c")
        return features


class TemporalHead(nn.Module):
    """A little context in time (5 frames), then the common space: `[B, V, C]` to `[B, V, D]`."""

    def __init__(self, n_in: int, n_embedding: int) -> None:
        """Two convolutions over time."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(n_in, 256, 5, padding=2, bias=False),
            nn.BatchNorm1d(256),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv1d(256, n_embedding, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings, not yet of unit length."""
        x = self.layers(rearrange(features, "b v c -> b c v"))
        embedding: Tensor = rearrange(x, "b d v -> b v d")
        return embedding


def _conv(n_in: int, n_out: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
