"""What every way to fuse has in common: where streams meet, what one pass keeps, how it decides."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class FusionPoint:
    """One depth where the streams meet.

    Attributes:
        channels: Channels of each stream there, in the order of the streams.
    """

    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        """Accept what JSON gives.

        Raises:
            ValueError: Fewer than two streams, or one without channels.
        """
        object.__setattr__(self, "channels", tuple(self.channels))
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError(f"FusionPoint: expected two or more streams, found {self.channels}")


@dataclass(slots=True)
class FusionState:
    """What one pass through the towers leaves behind for the decision and for the loss.

    Attributes:
        excitations: `E_m` before the sigmoid, of every gate so far.
        seen: Pooled vectors `[B, C_m]` of the streams by depth, where the fusion keeps them.
        joint: The hidden vector `[B, D]` of the joint network, where there is one.
    """

    excitations: list[Tensor] = field(default_factory=list)
    seen: dict[int, list[Tensor]] = field(default_factory=dict)
    joint: Tensor | None = None


class Fusion(nn.Module, ABC):
    """Joins towers that stay what they are: same features in, same shapes out, one decision.

    A network calls it so, depth by depth:

        state = fusion.begin()
        for depth, stages in enumerate(towers):
            features = fusion(state, depth, [stage(x) for stage, x in zip(stages, features)])
        joint = fusion.decide(state, [pool(x) for x in features], logits)
        loss = cross_entropy(joint, label) + weight * fusion.penalty(state)

    Streams may have any spatial rank, 0 too, each its own. A stream that is not there is None: the
    fusion sees zeros in its place and gives None back. Nothing is kept in the module between calls.

    Attributes:
        points: The depths, in order; `decide` gets vectors as wide as the last one.
        at: The depths where something is fused; at the others features pass untouched.
    """

    def __init__(
        self, points: Sequence[FusionPoint], n_classes: int, at: Sequence[int] | None = None
    ) -> None:
        """Take the depths.

        Raises:
            ValueError: No depth, depths of different numbers of streams, or `at` names a depth
                that is not there.
        """
        super().__init__()
        self.points = tuple(points)
        self.n_classes = n_classes
        self.at = tuple(range(len(self.points))) if at is None else tuple(sorted(set(at)))
        if len({len(point.channels) for point in self.points}) != 1:
            raise ValueError(f"fusion: expected as many streams at each depth, found {points}")
        if not set(self.at) <= set(range(len(self.points))):
            raise ValueError(
                f"fusion: at={self.at} names a depth outside 0..{len(self.points) - 1}"
            )

    @property
    def n_streams(self) -> int:
        """How many streams meet."""
        return len(self.points[0].channels)

    def begin(self) -> FusionState:
        """A fresh state for one pass."""
        return FusionState()

    def forward(
        self, state: FusionState, depth: int, features: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Features for the next stage of each tower, same order and shapes.

        Args:
            state: Of this pass, from `begin`.
            depth: Index into `points`.
            features: `[B, C_m, *spatial]` of each stream, None where a stream is absent.

        Raises:
            ValueError: Depth, number of streams or channels do not fit.
        """
        if not 0 <= depth < len(self.points):
            raise ValueError(f"fusion: expected a depth below {len(self.points)}, found {depth}")
        full = _with_zeros(features, self.points[depth].channels)
        if depth not in self.at:
            return list(features)
        fused = self.fuse(state, depth, full)
        return [
            None if given is None else back for given, back in zip(features, fused, strict=True)
        ]

    def decide(
        self,
        state: FusionState,
        features: Sequence[Tensor | None],
        logits: Sequence[Tensor | None],
    ) -> Tensor:
        """The joint logits `[B, K]`.

        Args:
            state: Of this pass.
            features: Last pooled vectors `[B, C_m]` of each stream, as wide as the last point.
            logits: `[B, K]` of each stream's own classifier.

        Raises:
            ValueError: No stream is present, or the widths do not fit.
        """
        full = _with_zeros(features, self.points[-1].channels)
        present = [x for x in logits if x is not None]
        if not present:
            raise ValueError("fusion: expected the logits of a stream, found none")
        return self.classify(state, full, present)

    def penalty(self, state: FusionState) -> Tensor:
        """Mean square of the excitations of this pass (0 without gates); a scalar for the loss."""
        if not state.excitations:
            return torch.zeros(())
        return torch.stack([e.square().mean() for e in state.excitations]).mean()

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """What happens at a depth of `at`; every stream is a tensor here."""
        return features

    def classify(self, state: FusionState, features: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Mean of the logits of the streams that are present; fusions with a head override it."""
        return torch.stack(logits).mean(0)


def pooled(x: Tensor) -> Tensor:
    """`[B, C, *spatial]` averaged to `[B, C]`."""
    return x.flatten(2).mean(2) if x.dim() > 2 else x


def spread(gate: Tensor, like: Tensor) -> Tensor:
    """`[B, C, *]` shaped to act on `like` `[B, C, *spatial]`, whose first axes it has."""
    return gate.reshape(gate.shape + (1,) * (like.dim() - gate.dim()))


def pointwise(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear map at every place: `[B, C, *spatial]` -> `[B, C_out, *spatial]` (a 1x1 conv)."""
    if x.dim() == 2:
        return F.linear(x, linear.weight, linear.bias)
    flat = F.conv1d(x.flatten(2), linear.weight.unsqueeze(2), linear.bias)
    return flat.reshape(x.shape[0], -1, *x.shape[2:])


def joined_at_places_of(x: Tensor, features: Sequence[Tensor]) -> Tensor:
    """All streams `[B, sum(C), *spatial of x]`.

    Spatial axes that a stream shares with `x`, from the first on, stay; it is averaged over the
    others. So a sequence joins maps of the same length step by step, and streams that share no
    axis come in by their averages.
    """
    return torch.cat([_placed(y, x) for y in features], 1)


def gated_streams(is_gated: Sequence[bool] | None, n_streams: int) -> tuple[bool, ...]:
    """Which streams are changed; None = all.

    Raises:
        ValueError: As many flags as streams are expected.
    """
    gates = (True,) * n_streams if is_gated is None else tuple(is_gated)
    if len(gates) != n_streams:
        raise ValueError(f"fusion: is_gated names {len(gates)} of {n_streams} streams")
    return gates


def zero_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer that starts at zero."""
    linear = nn.Linear(n_in, n_out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _placed(y: Tensor, like: Tensor) -> Tensor:
    """`y` `[B, C, *]` at the places of `like`."""
    if y.shape[2:] == like.shape[2:]:
        return y
    n_shared = 2
    while n_shared < min(y.dim(), like.dim()) and y.shape[n_shared] == like.shape[n_shared]:
        n_shared += 1
    averaged = y.flatten(n_shared).mean(n_shared) if y.dim() > n_shared else y
    return spread(averaged, like).expand(-1, -1, *like.shape[2:])


def _with_zeros(features: Sequence[Tensor | None], channels: tuple[int, ...]) -> list[Tensor]:
    """Features where absent streams are zeros, in the spatial shape of the first present one."""
    present = [x for x in features if x is not None]
    if not present:
        raise ValueError("fusion: expected a stream, found none")
    like = present[0]
    found = tuple(n if x is None else x.shape[1] for x, n in zip(features, channels, strict=False))
    if len(features) != len(channels) or found != channels:
        raise ValueError(f"fusion: expected channels {channels}, found {found}")
    return [
        like.new_zeros(like.shape[0], n, *like.shape[2:]) if x is None else x
        for x, n in zip(features, channels, strict=True)
    ]
