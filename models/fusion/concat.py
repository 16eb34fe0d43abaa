"""Channel-wise concatenation of the last features under one classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.fusion.base import Fusion, FusionPoint, FusionState


class ConcatFusion(Fusion):
    """The towers meet in one linear classifier over their concatenated pooled features.

    Reference:
        Joze et al., MMTM, CVPR 2020, section 4.2 (the baseline "CWC").
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        """Build the classifier; `at` changes nothing here."""
        super().__init__(points, n_classes, at)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(sum(self.points[-1].channels), n_classes)

    def classify(self, state: FusionState, features: list[Tensor], logits: list[Tensor]) -> Tensor:
        """Logits of the joint vector."""
        joint: Tensor = self.classifier(self.dropout(torch.cat(features, 1)))
        return joint
