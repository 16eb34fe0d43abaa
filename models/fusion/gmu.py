"""Gated multimodal unit: a gate says how much each stream has to say about this clip."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionPoint, FusionState


class GmuFusion(Fusion):
    """A gated mean of the streams' last features under one classifier.

        z = softmax(W [x_1, ..., x_N])      h = sum_m z_m * tanh(W_m x_m)

    Reference:
        Arevalo et al., Gated multimodal units for information fusion, 2017, section 3.1.

    Differs:
        The paper has `z, 1 - z` with a sigmoid for two streams and independent sigmoids for more;
        the softmax over streams is the former for two, keeps gates that sum to one for more, and
        treats all streams alike.
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
        """Build gate, projections and classifier; `at` changes nothing here."""
        super().__init__(points, n_classes, at)
        channels = self.points[-1].channels
        self.gates = nn.ModuleList(nn.Linear(sum(channels), width) for _ in channels)
        self.projections = nn.ModuleList(nn.Linear(n, width) for n in channels)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, n_classes)

    def classify(self, state: FusionState, features: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Logits of the gated mean."""
        everything = torch.cat(features, 1)
        gates = torch.stack([gate(everything) for gate in self.gates]).softmax(0)
        hidden = torch.stack([
            torch.tanh(project(x)) for project, x in zip(self.projections, features, strict=True)
        ])  # fmt: skip
        state.joint = (gates * hidden).sum(0)  # [B, width]
        joint: Tensor = self.classifier(self.dropout(state.joint))
        return joint
