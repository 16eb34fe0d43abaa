"""The small networks of the digits: one tower for pictures, one for sound, a joint head."""

from itertools import pairwise

import torch
from torch import Tensor, nn

N_IMAGE_FEATURES = 160
N_SOUND_FEATURES = 320
IMAGE_CHANNELS = 10
SOUND_CHANNELS = 20
N_HIDDEN = 64


class ImageTower(nn.Module):
    """Images `[B, 1, 28, 28]` to maps `[B, 10, 4, 4]` or features `[B, 160]`.

    Reference:
        LeCun et al., LeNet-5, 1998, in the size of Ma et al. (SMIL), AAAI 2021.

    Differs:
        Strides instead of pooling, which costs a CPU more than the convolutions do.
    """

    def __init__(self) -> None:
        """Two convolutions."""
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(1, 5, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(5, IMAGE_CHANNELS, 5, stride=2),
            nn.ReLU(),
        )

    def maps(self, images: Tensor) -> Tensor:
        """`[B, 10, 4, 4]`."""
        return torch.as_tensor(self.stages((images - 0.1307) / 0.3081))

    def forward(self, images: Tensor) -> Tensor:
        """`[B, 160]`."""
        return self.maps(images).flatten(1)


class SoundTower(nn.Module):
    """Sound pictures `[B, 1, 32, 32]` to maps `[B, 20, 4, 4]` or features `[B, 320]`."""

    def __init__(self) -> None:
        """Three convolutions that halve the picture, each normed."""
        super().__init__()
        widths = (1, 16, 32, SOUND_CHANNELS)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out)]
            layers += [nn.ReLU()]
        self.stages = nn.Sequential(*layers)

    def maps(self, sounds: Tensor) -> Tensor:
        """`[B, 20, 4, 4]`."""
        return torch.as_tensor(self.stages(sounds))

    def forward(self, sounds: Tensor) -> Tensor:
        """`[B, 320]`."""
        return self.maps(sounds).flatten(1)


def head(n_features: int, n_classes: int, dropout: float) -> nn.Sequential:
    """Classifier over a vector, with one hidden layer."""
    return nn.Sequential(
        nn.Linear(n_features, N_HIDDEN),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(N_HIDDEN, n_classes),
    )
