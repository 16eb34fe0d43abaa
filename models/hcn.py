"""HCN: classes of a skeleton's movement from co-occurring joints."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = ("low", "conv5", "conv6", "fc7")
"""Where the network can be cut, in order; `low` is the end of both branches, side by side."""

N_POOLINGS = 4
COORDINATES = 3


@dataclass(frozen=True, slots=True)
class HCNConfig:
    """Size of the network.

    Attributes:
        n_classes: Labels.
        n_joints: Joints of one skeleton.
        n_frames: Frames of one window, a multiple of 16 (the paper: 32).
        width: Multiplies every layer's channels; 1 is the published network.
        dropout: In conv4, conv5, conv6 and fc7.
        normalises: Whether each coordinate of each joint is normalised over the batch before
            both branches.
    """

    n_classes: int = 60
    n_joints: int = 25
    n_frames: int = 32
    width: float = 1.0
    dropout: float = 0.5
    normalises: bool = False

    def __post_init__(self) -> None:
        """Check the length.

        Raises:
            ValueError: Four poolings do not divide it.
        """
        if self.n_frames % 2**N_POOLINGS or self.n_frames <= 0:
            raise ValueError(f"HCN: n_frames is a multiple of 16, found {self.n_frames}")

    def channels_after(self, layer: str) -> int:
        """Channels of the features after `conv5`, `conv6` or `fc7`.

        Raises:
            ValueError: The layer is unknown.
        """
        widths = {"conv5": 128, "conv6": 256, "fc7": 512}
        if layer not in widths:
            raise ValueError(f"HCN: expected a layer of {', '.join(widths)}, found {layer!r}")
        return self.scaled(widths[layer])

    def scaled(self, n_channels: int) -> int:
        """A layer's channels at this width."""
        return max(1, round(n_channels * self.width))


class HCN(nn.Module):
    """Hierarchical co-occurrence network: joints become channels, persons meet late.

    At width 1 and 32 frames: low 128@8x8, conv5 128@4x4, conv6 256@2x2, fc7 512.

    Reference:
        Li et al., Co-occurrence feature learning from skeleton data, IJCAI 2018; the late fusion
        of persons, as Joze et al., section 5.3.

    Differs:
        A person who is absent (every coordinate zero) is replaced by one who is there, so that one
        person alone and with an empty second place give the same features. With `normalises` a
        batch norm stands before each branch: a pose varies little around its mean, its motion
        less, and on a few hundred clips the network of the paper did not leave chance without.
    """

    def __init__(self, config: HCNConfig) -> None:
        """Build both branches and the common trunk."""
        super().__init__()
        self.config = config
        half, n_5, n_6 = config.scaled(64), config.channels_after("conv5"), config.scaled(256)
        self.position = _Branch(config)
        self.motion = _Branch(config)
        self.conv_5 = _block(2 * half, n_5, config.dropout)
        self.conv_6 = _block(n_5, n_6, config.dropout)
        side = config.n_frames // 2**N_POOLINGS
        n_7 = config.channels_after("fc7")
        self.fc_7 = nn.Sequential(
            nn.Linear(n_6 * side * side, n_7), nn.ReLU(), nn.Dropout(config.dropout)
        )
        self.fc_8 = nn.Linear(n_7, config.n_classes)

    def forward(self, skeletons: Tensor) -> Tensor:
        """Logits `[B, K]`.

        Args:
            skeletons: `[B, 3, T, V, P]`, coordinates of V joints of P persons, the origin in a
                joint of the torso.
        """
        return self.classify(self.run(skeletons))

    def run(self, x: Tensor, after: str | None = None, last: str = "fc7") -> Tensor:
        """Features after the layer `last`, from those after the layer `after` (None: skeletons).

        Raises:
            ValueError: A layer is unknown.
        """
        for layer in LAYERS[_place(after) + 1 : _place(last) + 1]:
            x = getattr(self, layer)(x)
        return x

    def low(self, skeletons: Tensor) -> Tensor:
        """Both branches side by side: `[B, P, C, T/4, T/4]`.

        Raises:
            ValueError: Coordinates, frames or joints are not those of the config.
        """
        found, n_batch = tuple(skeletons.shape[1:4]), skeletons.shape[0]
        wanted = (COORDINATES, self.config.n_frames, self.config.n_joints)
        if found != wanted:
            raise ValueError(f"HCN: expected [B, {wanted}, P], found {found} in its middle")
        x = rearrange(fill_absent(skeletons), "b c t v p -> (b p) c t v")
        both = torch.cat([self.position(x), self.motion(velocities(x))], 1)
        return rearrange(both, "(b p) c t d -> b p c t d", b=n_batch)

    def conv5(self, low: Tensor) -> Tensor:
        """`[B, C, P, T/8, T/8]`: channels stand second, where a fusion looks for them."""
        return self._people(self.conv_5, low)

    def conv6(self, features: Tensor) -> Tensor:
        """`[B, C, P, T/16, T/16]` from what `conv5` gave."""
        return self._people(self.conv_6, rearrange(features, "b c p t d -> b p c t d"))

    def fc7(self, features: Tensor) -> Tensor:
        """`[B, C]` from what `conv6` gave: the largest over the persons, then one layer."""
        x: Tensor = self.fc_7(features.amax(2).flatten(1))
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Logits `[B, K]` from what `fc7` gave."""
        logits: Tensor = self.fc_8(features)
        return logits

    def _people(self, block: nn.Module, x: Tensor) -> Tensor:
        n_batch = x.shape[0]
        x = block(rearrange(x, "b p c t d -> (b p) c t d"))
        return rearrange(x, "(b p) c t d -> b c p t d", b=n_batch)


class _Branch(nn.Module):
    """conv1 to conv4 of positions or of motion."""

    def __init__(self, config: HCNConfig) -> None:
        super().__init__()
        n_1, n_3, n_4 = config.scaled(64), config.scaled(32), config.scaled(64)
        n_coordinates = COORDINATES * config.n_joints
        self.norm = nn.BatchNorm1d(n_coordinates) if config.normalises else None
        self.conv_1 = nn.Conv2d(COORDINATES, n_1, 1)
        self.conv_2 = nn.Conv2d(n_1, config.n_frames, (3, 1), padding=(1, 0))
        self.conv_3 = nn.Conv2d(config.n_joints, n_3, 3, padding=1)
        self.conv_4 = nn.Conv2d(n_3, n_4, 3, padding=1)
        self.dropout = nn.Dropout2d(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, T/4, T/4]` from `[N, 3, T, V]`."""
        if self.norm is not None:
            n_joints = x.shape[3]
            x = self.norm(rearrange(x, "n c t v -> n (c v) t"))
            x = rearrange(x, "n (c v) t -> n c t v", v=n_joints)
        x = self.conv_2(torch.relu(self.conv_1(x)))  # [N, T, T, V]: as many channels as frames
        x = rearrange(x, "n c t v -> n v t c")  # joints become channels
        x = F.max_pool2d(self.conv_3(x), 2)
        return F.max_pool2d(self.dropout(self.conv_4(x)), 2)


def _place(layer: str | None) -> int:
    if layer is None:
        return -1
    if layer not in LAYERS:
        raise ValueError(f"HCN: expected a layer of {', '.join(LAYERS)}, found {layer!r}")
    return LAYERS.index(layer)


def velocities(x: Tensor) -> Tensor:
    """Differences of frames `[N, 3, T, V]`, stretched over time to T again."""
    n_frames, n_joints = x.shape[2:]
    steps = x[:, :, 1:] - x[:, :, :-1]
    size = (n_frames, n_joints)
    return F.interpolate(steps, size=size, mode="bilinear", align_corners=False)


def fill_absent(skeletons: Tensor) -> Tensor:
    """Put the first person who is there in the place of those who are not: `[B, 3, T, V, P]`."""
    is_present = (skeletons != 0).flatten(1, 3).any(1)  # [B, P]
    first = is_present.int().argmax(1).view(-1, 1, 1, 1, 1)
    stand_in = skeletons.gather(4, first.expand(*skeletons.shape[:4], 1))
    return torch.where(is_present[:, None, None, None, :], skeletons, stand_in)


def _block(n_in: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.Dropout2d(dropout), nn.MaxPool2d(2)
    )
