"""CentralNet: a third network, fed at each depth by learned weighted sums of the streams."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionPoint, FusionState, pooled


class CentralNetFusion(Fusion):
    """The streams run undisturbed; a central network listens at each depth and decides.

        h_{i+1} = ReLU(BN(W_i (alpha_C h_i + sum_m alpha_m P_m x_m)))

    Train it with the losses of all classifiers, the towers' too, as the paper does.

    Reference:
        Vielzeuf et al., CentralNet, ECCV workshops 2018.

    Differs:
        The sum is of pooled vectors, brought to one width by `P_m`; the paper's layers have the
        same shape in all streams, which towers of different kinds do not.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        width: int = 256,
        dropout: float = 0.0,
    ) -> None:
        """Build the central layers of the depths of `at`, and the classifier.

        Raises:
            ValueError: `at` is empty.
        """
        super().__init__(points, n_classes, at)
        if not self.at:
            raise ValueError("centralnet: expected a depth, found at=()")
        self.layers = nn.ModuleDict({
            str(depth): _CentralLayer(self.points[depth].channels, width, has_past=index > 0)
            for index, depth in enumerate(self.at)
        })  # fmt: skip
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, n_classes)

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Features as given; the central network takes a step."""
        vectors = [pooled(x) for x in features]
        state.joint = self.layers[str(depth)](state.joint, vectors)
        return features

    def classify(self, state: FusionState, features: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Logits of the central network.

        Raises:
            ValueError: No depth of `at` was passed before.
        """
        if state.joint is None:
            raise ValueError("centralnet: decide before forward at any depth")
        joint: Tensor = self.classifier(self.dropout(state.joint))
        return joint


class _CentralLayer(nn.Module):
    """One step: what the central network had `[B, D]` and the streams -> `[B, D]`."""

    def __init__(self, channels: tuple[int, ...], width: int, *, has_past: bool) -> None:
        super().__init__()
        # no biases: the norm would take them away again
        self.projections = nn.ModuleList(nn.Linear(n, width, bias=False) for n in channels)
        n_sources = len(channels) + has_past
        self.alphas = nn.ParameterList(nn.Parameter(torch.tensor(1 / n_sources)) for _ in channels)
        if has_past:
            self.alpha_past = nn.Parameter(torch.tensor(1 / n_sources))
        self.layer = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, past: Tensor | None, vectors: list[Tensor]) -> Tensor:
        terms = [
            alpha * project(x)
            for alpha, project, x in zip(self.alphas, self.projections, vectors, strict=True)
        ]
        if past is not None:
            terms.append(self.alpha_past * past)
        return torch.relu(self.norm(self.layer(torch.stack(terms).sum(0))))
