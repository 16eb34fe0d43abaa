"""Ways to classify a digit from its picture when its sound may be missing, one class each."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avse.training.digits.protocol import N_CLASSES
from avse.training.digits.towers import (
    IMAGE_CHANNELS,
    N_IMAGE_FEATURES,
    N_SOUND_FEATURES,
    SOUND_CHANNELS,
    ImageTower,
    SoundTower,
    head,
)
from models.fusion import FusionPoint, build_fusion
from models.smil import Smil


class DigitNet(nn.Module):
    """Classifies images `[B, 1, 28, 28]` with sounds `[B, 1, 32, 32]`, or None without them."""

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits `[B, 10]`."""
        raise NotImplementedError


class ImageOnly(DigitNet):
    """The picture alone; sound makes no difference."""

    def __init__(self, dropout: float) -> None:
        """A tower and a head."""
        super().__init__()
        self.image = ImageTower()
        self.head = head(N_IMAGE_FEATURES, N_CLASSES, dropout)

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits of the picture."""
        return torch.as_tensor(self.head(self.image(images)))


class SoundOnly(DigitNet):
    """The sound alone; without it every class is as likely."""

    def __init__(self, dropout: float) -> None:
        """A tower and a head."""
        super().__init__()
        self.sound = SoundTower()
        self.head = head(N_SOUND_FEATURES, N_CLASSES, dropout)

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits of the sound."""
        if sounds is None:
            return images.new_zeros(len(images), N_CLASSES)
        return torch.as_tensor(self.head(self.sound(sounds)))


class Separate(DigitNet):
    """Two networks that never met: the product of their probabilities, or the picture's alone."""

    def __init__(self, image: ImageOnly, sound: SoundOnly) -> None:
        """Take both, trained."""
        super().__init__()
        self.image, self.sound = image, sound

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Sum of log-probabilities."""
        seen = F.log_softmax(self.image(images, None), 1)
        return seen if sounds is None else seen + F.log_softmax(self.sound(images, sounds), 1)


class Frozen(nn.Module):
    """A trained module that stays as it is, in training mode too."""

    def __init__(self, module: nn.Module) -> None:
        """Take the module; its parameters learn no more."""
        super().__init__()
        self.module = module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """What the module says."""
        return torch.as_tensor(self.module(x))


class Joint(DigitNet):
    """Both towers and a joint head; zeros stand for the features of a missing sound."""

    def __init__(self, sound: SoundTower, dropout: float) -> None:
        """Take the trained sound tower; it stays as it is."""
        super().__init__()
        self.image = ImageTower()
        self.sound = Frozen(sound)
        self.head = head(N_IMAGE_FEATURES + N_SOUND_FEATURES, N_CLASSES, dropout)

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits of the concatenated features."""
        seen = self.image(images)
        heard = self.missing(seen) if sounds is None else self.sound(sounds)
        return torch.as_tensor(self.head(torch.cat([seen, heard], 1)))

    def missing(self, seen: Tensor) -> Tensor:
        """What stands for the sound's features, `[B, 320]`."""
        return seen.new_zeros(len(seen), N_SOUND_FEATURES)


class FilledJoint(Joint):
    """Features of a missing sound from an autoencoder that was trained on complete pairs."""

    def __init__(self, sound: SoundTower, dropout: float, autoencoder: nn.Module) -> None:
        """Take the autoencoder, images `[B, 1, 28, 28]` to sound features; it stays as it is."""
        super().__init__(sound, dropout)
        self.autoencoder = Frozen(autoencoder)

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits of the features, of which the sound's may be made up."""
        heard = self.autoencoder(images) if sounds is None else self.sound(sounds)
        return torch.as_tensor(self.head(torch.cat([self.image(images), heard], 1)))


class Autoencoder(nn.Module):
    """Image to bottleneck to the features of the sound that would go with it."""

    def __init__(self, n_bottleneck: int = 32) -> None:
        """A tower of its own, a bottleneck, two layers out of it."""
        super().__init__()
        self.encode = nn.Sequential(ImageTower(), nn.Linear(N_IMAGE_FEATURES, n_bottleneck))
        self.decode = nn.Sequential(
            nn.ReLU(), nn.Linear(n_bottleneck, 128), nn.ReLU(), nn.Linear(128, N_SOUND_FEATURES)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features `[B, 320]`; never negative, as those of the tower."""
        return F.relu(self.decode(self.encode(images)))


class Attentive(DigitNet):
    """Both towers joined by split attention (MSAF) over their last maps; absent sound is zeros."""

    def __init__(self, sound: SoundTower, dropout: float) -> None:
        """Take the trained sound tower; it stays as it is."""
        super().__init__()
        self.image = ImageTower()
        self.sound = sound.requires_grad_(False)
        point = FusionPoint((IMAGE_CHANNELS, SOUND_CHANNELS))
        self.fusion = build_fusion("msaf", [point], N_CLASSES)
        self.head = head(N_IMAGE_FEATURES + N_SOUND_FEATURES, N_CLASSES, dropout)

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits of the maps that attention has weighed."""
        seen = self.image.maps(images)
        self.sound.eval()
        heard = self.sound.maps(sounds) if sounds is not None else None
        fused = self.fusion(self.fusion.begin(), 0, [seen, heard])
        silent = seen.new_zeros(len(seen), SOUND_CHANNELS, *seen.shape[2:])
        maps = [x if x is not None else silent for x in fused]
        return torch.as_tensor(self.head(torch.cat([x.flatten(1) for x in maps], 1)))


class Missing(DigitNet):
    """SMIL around the two towers."""

    def __init__(self, smil: Smil) -> None:
        """Take the wrapped towers."""
        super().__init__()
        self.smil = smil

    def forward(self, images: Tensor, sounds: Tensor | None) -> Tensor:
        """Logits, by reconstruction where there is no sound."""
        return torch.as_tensor(self.smil(images, sounds).logits)
