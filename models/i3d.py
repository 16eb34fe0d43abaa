"""I3D: the inflated Inception-v1, by named stages so that it can be cut, shared and fused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = (
    "1a", "2a", "2b", "2c", "3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "4f", "5a", "5b", "5c",
)  # fmt: skip
"""Every stage in order; `a` of 2 to 5 are poolings, 3b to 5c inception modules."""

INCEPTIONS = ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")
"""The nine inception modules, where streams can meet."""

NORM_EPS = 1e-3
NORM_MOMENTUM = 1e-3
POOL_FRAMES = 2

_UNITS = {"1a": (64, 7, 2), "2b": (64, 1, 1), "2c": (192, 3, 1)}
_POOLS = {
    "2a": ((1, 3, 3), (1, 2, 2)),
    "3a": ((1, 3, 3), (1, 2, 2)),
    "4a": ((3, 3, 3), (2, 2, 2)),
    "5a": ((2, 2, 2), (2, 2, 2)),
}
_BRANCHES = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


@dataclass(frozen=True, slots=True)
class I3DConfig:
    """Size of the network.

    Attributes:
        n_classes: Labels.
        n_channels: Of the input: 3 for colour, 1 for depth, 2 for flow.
        width: Multiplies every layer's channels; 1 is the published network.
        dropout: Before the classifier.
        omits: Stages that somebody else holds, for towers that share weights.
    """

    n_classes: int = 400
    n_channels: int = 3
    width: float = 1.0
    dropout: float = 0.5
    omits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Accept the list that JSON gives and check the stages' names.

        Raises:
            ValueError: A stage of `omits` is unknown.
        """
        object.__setattr__(self, "omits", tuple(self.omits))
        for stage in self.omits:
            check_stage(stage)

    def channels_after(self, stage: str) -> int:
        """Channels of the features that a stage gives.

        Raises:
            ValueError: The stage is unknown.
        """
        check_stage(stage)
        if stage in _POOLS:
            return self.channels_after(STAGES[STAGES.index(stage) - 1])
        if stage in _UNITS:
            return _scaled(_UNITS[stage][0], self.width)
        first, _, second, _, third, fourth = _BRANCHES[stage]
        return sum(_scaled(n, self.width) for n in (first, second, third, fourth))


class I3D(nn.Module):
    """Classes of a clip from its pictures.

    At width 1 and 64 x 224 x 224: 1a 64@32x112^2, 2c 192@32x56^2, 3c 480@32x28^2,
    4f 832@16x14^2, 5c 1024@8x7^2.

    Reference:
        Carreira and Zisserman, Quo vadis, action recognition?, CVPR 2017, figure 3; padding,
        normalisation and pooling as in its published TensorFlow code.

    Differs:
        The last average runs over the whole plane instead of 7 x 7, the same at 224 x 224, so
        that smaller pictures pass too.
    """

    def __init__(self, config: I3DConfig) -> None:
        """Build every stage that is not left out."""
        super().__init__()
        self.config = config
        self.stages = nn.ModuleDict(
            {stage: make_stage(stage, config) for stage in STAGES if stage not in config.omits}
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.channels_after("5c"), config.n_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits `[B, K]`.

        Args:
            pictures: `[B, C, T, H, W]`; colour and depth in -1..1, flow divided by its limit.
        """
        return self.classify(self.pool(self.run(pictures)))

    def stem(self, pictures: Tensor, last: str = "4e") -> Tensor:
        """Features after the stage `last`, `[B, C', T', H', W']`."""
        return self.run(pictures, None, last)

    def rest(self, features: Tensor, after: str = "4e") -> Tensor:
        """Logits `[B, K]` from the features after a stage: `rest(stem(x))` is `forward(x)`."""
        return self.classify(self.pool(self.run(features, after)))

    def run(self, x: Tensor, after: str | None = None, last: str = "5c") -> Tensor:
        """Features after the stage `last`, from those after the stage `after` (None: pictures).

        Raises:
            ValueError: A stage is unknown or `last` comes before `after`.
        """
        for stage in stages_between(after, last):
            x = self.stages[stage](x)
        return x

    def pool(self, features: Tensor) -> Tensor:
        """The last features averaged over the plane and pairs of frames: `[B, C, T']`."""
        n_frames, height, width = features.shape[2:]
        window = (min(POOL_FRAMES, n_frames), height, width)
        return F.avg_pool3d(features, window, stride=1).flatten(2)

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits `[B, K]` of what `pool` gave, averaged over time."""
        steps = rearrange(self.dropout(pooled), "b c t -> b t c")
        logits: Tensor = self.classifier(steps).mean(1)
        return logits


class ConvUnit(nn.Module):
    """Convolution with TensorFlow's `SAME` padding, normalisation and ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: int = 1, stride: int = 1) -> None:
        """Build the layers; one number each for time, height and width."""
        super().__init__()
        self.conv = nn.Conv3d(n_in, n_out, kernel, stride, bias=False)
        self.norm = ShiftNorm(n_out)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C', ceil(T/s), ceil(H/s), ceil(W/s)]`."""
        kernel = self.conv.kernel_size
        if kernel == (1, 1, 1):  # a convolution would leave the channels-last layout
            x = F.linear(rearrange(x, "b c t h w -> b t h w c"), self.conv.weight.flatten(1))
            x = rearrange(x, "b t h w c -> b c t h w")
        elif self.conv.stride == (1, 1, 1):  # even padding: no copy is needed
            x = F.conv3d(x, self.conv.weight, padding=[k // 2 for k in kernel])
        else:
            x = self.conv(F.pad(x, same_padding(x.shape[2:], kernel, self.conv.stride)))
        return torch.relu(self.norm(x))


class ShiftNorm(nn.Module):
    """Batch normalisation with a shift and no scale, as the published network has it."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n_channels: int) -> None:
        """Mean 0, variance 1, shift 0."""
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(n_channels))
        self.register_buffer("running_mean", torch.zeros(n_channels))
        self.register_buffer("running_var", torch.ones(n_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, C, ...]` by the batch in training, else by what was counted."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, None, self.bias,
            self.training, NORM_MOMENTUM, NORM_EPS,
        )  # fmt: skip


class SamePool(nn.Module):
    """Largest value with TensorFlow's `SAME` padding."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        """Keep the sizes."""
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, ceil(T/s), ceil(H/s), ceil(W/s)]`."""
        padding = same_padding(x.shape[2:], self.kernel, self.stride)
        if any(padding):
            x = F.pad(x, padding, value=-math.inf)
        return F.max_pool3d(x, self.kernel, self.stride)


class Inception(nn.Module):
    """Four branches side by side: 1, 1-3, 1-3, pooling-1."""

    def __init__(self, n_in: int, widths: Sequence[int]) -> None:
        """Build the branches; `widths` in the order of the published code."""
        super().__init__()
        one, reduce_1, three_1, reduce_2, three_2, pooled = widths
        self.branch_0 = ConvUnit(n_in, one)
        self.branch_1 = nn.Sequential(ConvUnit(n_in, reduce_1), ConvUnit(reduce_1, three_1, 3))
        self.branch_2 = nn.Sequential(ConvUnit(n_in, reduce_2), ConvUnit(reduce_2, three_2, 3))
        self.branch_3 = nn.Sequential(nn.MaxPool3d(3, 1, 1), ConvUnit(n_in, pooled))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C', T, H, W]`, the branches' channels one after the other."""
        branches = (self.branch_0, self.branch_1, self.branch_2, self.branch_3)
        return torch.cat([branch(x) for branch in branches], 1)


def make_stage(stage: str, config: I3DConfig) -> nn.Module:
    """One stage with fresh weights.

    Raises:
        ValueError: The stage is unknown.
    """
    check_stage(stage)
    if stage in _POOLS:
        return SamePool(*_POOLS[stage])
    is_first = stage == STAGES[0]
    n_in = config.n_channels if is_first else config.channels_after(_before(stage))
    if stage in _UNITS:
        n_out, kernel, stride = _UNITS[stage]
        return ConvUnit(n_in, _scaled(n_out, config.width), kernel, stride)
    return Inception(n_in, [_scaled(n, config.width) for n in _BRANCHES[stage]])


def stages_between(after: str | None, last: str) -> tuple[str, ...]:
    """The stages that lead from the features after `after` (None: the input) to those of `last`.

    Raises:
        ValueError: A stage is unknown or `last` comes before `after`.
    """
    check_stage(last)
    first = 0
    if after is not None:
        check_stage(after)
        first = STAGES.index(after) + 1
    end = STAGES.index(last) + 1
    if end < first:
        raise ValueError(f"I3D: expected a stage not before {after}, found {last}")
    return STAGES[first:end]


def comes_before(stage: str, other: str | None) -> bool:
    """Whether a stage lies before another one; None is the input, which nothing precedes."""
    return other is not None and STAGES.index(stage) < STAGES.index(other)


def check_stage(stage: str) -> None:
    """Refuse a name that is no stage.

    Raises:
        ValueError: It is unknown.
    """
    if stage not in STAGES:
        raise ValueError(f"I3D: expected a stage of {', '.join(STAGES)}, found {stage!r}")


def same_padding(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...]:
    """TensorFlow's `SAME` in the order of `torch.nn.functional.pad`: the odd one goes behind."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(sizes, kernel, stride, strict=True))):
        total = max((math.ceil(size / s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return tuple(pads)


def _before(stage: str) -> str:
    return STAGES[STAGES.index(stage) - 1]


def _scaled(n_channels: int, width: float) -> int:
    return max(1, round(n_channels * width))
