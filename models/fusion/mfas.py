"""MFAS: a few joint layers, each over one chosen depth of every stream; the choice is searched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.fusion.base import Fusion, FusionPoint, FusionState, pooled

Activation = Literal["relu", "sigmoid", "leaky_relu"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


@dataclass(frozen=True, slots=True)
class MfasLayer:
    """One joint layer.

    Attributes:
        depths: Which depth of each stream it reads.
        activation: What follows its linear map.
    """

    depths: tuple[int, ...]
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        """Accept what JSON gives.

        Raises:
            ValueError: An unknown activation.
        """
        object.__setattr__(self, "depths", tuple(self.depths))
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"mfas: expected one of {ACTIVATIONS}, found {self.activation!r}")


class MfasFusion(Fusion):
    """The streams run undisturbed; joint layers over their pooled features decide.

        h_l = f_l(BN(W_l [x_1 at d_l1, ..., x_N at d_lN, h_{l-1}]))

    `models.fusion.search.search_mfas` chooses the layers by a score.

    Reference:
        Perez-Rua et al., MFAS, CVPR 2019, section 3.1.

    Differs:
        The batch norm (an option of the authors' code) is on: the streams differ in scale.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        layers: Sequence[MfasLayer | Mapping[str, Any]] | None = None,
        width: int = 256,
        dropout: float = 0.0,
    ) -> None:
        """Build the joint layers.

        Args:
            points: The depths.
            n_classes: K of the decision.
            layers: First to last (mappings with the fields of `MfasLayer` do as well); None = the
                last four depths, each stream at the same one.
            width: Units of each layer.
            dropout: Before the classifier.

        Raises:
            ValueError: No layer, or one that names a depth or a number of streams that is not.
        """
        last = range(max(0, len(points) - 4), len(points))
        chosen = (
            [MfasLayer((depth,) * len(points[0].channels)) for depth in last]
            if layers is None
            else [x if isinstance(x, MfasLayer) else MfasLayer(**x) for x in layers]
        )
        super().__init__(points, n_classes, sorted({d for x in chosen for d in x.depths}))
        if not chosen or any(len(x.depths) != self.n_streams for x in chosen):
            raise ValueError(f"mfas: expected layers over {self.n_streams} streams, found {chosen}")
        self.choice = tuple(chosen)
        self.layers = nn.ModuleList(
            _JointLayer(self._widths(x), width, x.activation, n_past=width if index else 0)
            for index, x in enumerate(self.choice)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, n_classes)

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Features as given; their averages are kept for the decision."""
        state.seen[depth] = [pooled(x) for x in features]
        return features

    def classify(self, state: FusionState, features: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Logits of the joint layers.

        Raises:
            ValueError: A depth that a layer reads was not passed before.
        """
        if missing := set(self.at) - set(state.seen):
            raise ValueError(f"mfas: decide before forward at depths {sorted(missing)}")
        joint: Tensor | None = None
        for choice, layer in zip(self.choice, self.layers, strict=True):
            joint = layer([state.seen[depth][m] for m, depth in enumerate(choice.depths)], joint)
        state.joint = joint
        return cast("Tensor", self.classifier(self.dropout(joint)))

    def _widths(self, layer: MfasLayer) -> tuple[int, ...]:
        return tuple(self.points[depth].channels[m] for m, depth in enumerate(layer.depths))


class _JointLayer(nn.Module):
    """Vectors of the streams and of the layer before -> `[B, D]`."""

    def __init__(
        self, channels: tuple[int, ...], width: int, activation: Activation, *, n_past: int
    ) -> None:
        super().__init__()
        self.activation = activation
        self.linear = nn.Linear(sum(channels), width, bias=False)
        if n_past:
            self.past = nn.Linear(n_past, width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, vectors: list[Tensor], past: Tensor | None) -> Tensor:
        x = self.linear(torch.cat(vectors, 1))
        x = self.norm(x if past is None else x + self.past(past))
        if self.activation == "sigmoid":
            return torch.sigmoid(x)
        return F.leaky_relu(x, 0.01) if self.activation == "leaky_relu" else torch.relu(x)
