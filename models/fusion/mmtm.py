"""MMTM as a fusion: one transfer module at each depth, the mean of the logits at the end."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from models.fusion.base import Fusion, FusionPoint, FusionState
from models.mmtm import MMTM, MmtmConfig, Squeeze

Form = Literal["paper", "code"]


class MmtmFusion(Fusion):
    """Transfer modules between the towers; fresh ones (paper form) change nothing.

    Reference:
        Joze et al., MMTM, CVPR 2020, sections 3, 4.1 and 4.3.

    Differs:
        `form="paper"` has the ReLU of the authors' code (see `models.mmtm`). `form="code"` is that
        code in full: joint width sum / 2, gate `sigmoid` instead of `2 * sigmoid` (a zero
        excitation halves the features), default initialisation; unlike that code, every gated
        stream is handed on.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        squeeze: Squeeze = "clip",
        form: Form = "paper",
        is_gated: Sequence[bool] | None = None,
    ) -> None:
        """Build a module for each depth of `at`.

        Args:
            points: The depths.
            n_classes: K of the decision.
            at: Depths with a module; None = all.
            squeeze: `clip` averages time away, `frame` keeps it (see `MmtmConfig`).
            form: `paper` or `code`.
            is_gated: Which streams are recalibrated; None = all.

        Raises:
            ValueError: An unknown form, or what `MmtmConfig` refuses.
        """
        super().__init__(points, n_classes, at)
        if form not in ("paper", "code"):
            raise ValueError(f"mmtm: form is 'paper' or 'code', found {form!r}")
        gates = None if is_gated is None else tuple(is_gated)
        build = MMTM if form == "paper" else CodeMMTM
        self.transfers = nn.ModuleDict({
            str(depth): build(
                MmtmConfig(
                    self.points[depth].channels, squeeze, 4 if form == "paper" else 2, gates
                )
            )
            for depth in self.at
        })  # fmt: skip

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Recalibrated features; the excitations go into the state."""
        transfer = self.transfers[str(depth)]
        assert isinstance(transfer, MMTM)
        excitations = transfer.excitations(features)
        state.excitations.extend(e for e in excitations if e is not None)
        return transfer.recalibrate(features, excitations)


class CodeMMTM(MMTM):
    """The module as the authors published it: `sigmoid` gate, default initialisation."""

    def __init__(self, config: MmtmConfig) -> None:
        """Build the maps; excitations start as any linear layer does."""
        super().__init__(config)
        for layer in self.excite:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()

    def recalibrate(
        self, features: Sequence[Tensor], excitations: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Multiply each gated stream by `sigmoid(E_m)`."""
        halved = super().recalibrate(features, excitations)
        return [x if e is None else x / 2 for x, e in zip(halved, excitations, strict=True)]
