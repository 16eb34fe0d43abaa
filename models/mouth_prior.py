"""What lips may be doing while the mouth is hidden: priors weighted by the sound."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from models.smil import PriorWeights, SmilConfig
from models.sound_tower import SoundEncoder, TimeBlock


@dataclass(frozen=True, slots=True)
class MouthPriorConfig:
    """Shape of the module.

    Attributes:
        n_features: D, length of the lip features of all depths together.
        n_priors: K, cluster centres of how lips move.
        n_mels: Mel bands of the sound.
        widths: Channels of the sound encoder's four layers.
        n_hidden: Channels of the blocks over time.
        deviation: First standard deviation of the weights.
    """

    n_features: int = 336
    n_priors: int = 64
    n_mels: int = 80
    widths: tuple[int, ...] = (8, 16, 24, 32)
    n_hidden: int = 96
    deviation: float = 0.1

    def __post_init__(self) -> None:
        """Accept the list that JSON gives."""
        object.__setattr__(self, "widths", tuple(self.widths))


class MouthPrior(nn.Module):
    """Fills in the lip features of hidden frames, so that the enhancer need not know.

    A frame's features are a mean mouth plus a movement. The mean is that of the visible frames of
    the window, or of all mouths in training where there is none; the movement is a weighted sum of
    priors, and the weights come from the sound around the frame. Visible frames stay as they are.

    Reference:
        Ma et al., SMIL, AAAI 2021, for the priors and their weights.

    Differs:
        The missing stream is a sequence, each frame of which has weights of its own; the priors
        are centres of features less their clip's mean, for otherwise they are people.
    """

    def __init__(self, config: MouthPriorConfig) -> None:
        """Build; mean and priors are zero until `learn_priors` or a state fills them."""
        super().__init__()
        self.config = config
        self.encoder = SoundEncoder(config.widths)
        self.into = nn.Conv1d(config.widths[-1] * (config.n_mels // 16), config.n_hidden, 1)
        self.blocks = nn.Sequential(TimeBlock(config.n_hidden, 1), TimeBlock(config.n_hidden, 2))
        settings = SmilConfig(n_priors=config.n_priors, deviation=config.deviation)
        priors = torch.zeros(config.n_priors, config.n_features)
        self.weigh = PriorWeights(config.n_hidden, priors, settings)
        self.register_buffer("mean", torch.zeros(config.n_features))
        self.mean: Tensor

    def learn_priors(self, mean: Tensor, centres: Tensor) -> None:
        """Take the mean mouth `[D]` and the centres of the movements `[K, D]`.

        Raises:
            ValueError: The sizes do not fit the configuration.
        """
        config = self.config
        found = (tuple(mean.shape), tuple(centres.shape))
        wanted = ((config.n_features,), (config.n_priors, config.n_features))
        if found != wanted:
            raise ValueError(f"mouth prior: expected sizes {wanted}, found {found}")
        self.mean.copy_(mean)
        self.weigh.priors.copy_(centres)

    def forward(self, log_mel: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Movements `[B, V, D]`.

        Args:
            log_mel: `[B, T, M]` log-mel magnitude of what is heard, T = 4 V.
            generator: Draws the weights; without one they are their means.
        """
        n_batch = len(log_mel)
        x, _ = self.encoder(rearrange(log_mel, "b t m -> b 1 t m"))
        x = self.into(rearrange(x, "b c v m -> b (c m) v"))
        x = rearrange(self.blocks(x), "b c v -> (b v) c")
        movements: Tensor = self.weigh(x, generator)[0]
        return rearrange(movements, "(b v) d -> b v d", b=n_batch)

    def fill(
        self,
        log_mel: Tensor,
        visual: list[Tensor],
        is_visible: Tensor,
        generator: torch.Generator | None = None,
    ) -> list[Tensor]:
        """Features in which every frame can count as visible.

        Args:
            log_mel: As `forward` takes it.
            visual: `[B, V, C_i]` each; what stands at hidden frames has no effect.
            is_visible: `[B, V]` bool.
            generator: As `forward` takes it.

        Returns:
            Tensors of the same shapes.

        Raises:
            ValueError: The widths do not add up to D.
        """
        features = torch.cat(visual, 2)
        if features.shape[2] != self.config.n_features:
            found = features.shape[2]
            raise ValueError(f"mouth prior: {self.config.n_features} features, found {found}")
        shown = is_visible.unsqueeze(2)
        n_shown = shown.sum(1, keepdim=True)
        own = torch.where(shown, features, 0).sum(1, keepdim=True) / n_shown.clamp(min=1)
        mouth = torch.where(n_shown > 0, own, self.mean)
        filled = torch.where(shown, features, mouth + self(log_mel, generator))
        return list(torch.split(filled, [x.shape[2] for x in visual], 2))
