"""Ways to fuse towers, by name: the one word a researcher changes.

Example:
    >>> import torch
    >>> from models.fusion import FusionPoint, build_fusion
    >>> fusion = build_fusion("mmtm", [FusionPoint((8, 6))], n_classes=3)
    >>> state = fusion.begin()
    >>> maps = [torch.randn(2, 8, 4, 5, 5), torch.randn(2, 6)]
    >>> [tuple(x.shape) for x in fusion(state, 0, maps)]
    [(2, 8, 4, 5, 5), (2, 6)]
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from models.fusion.base import Fusion, FusionPoint, FusionState
from models.fusion.centralnet import CentralNetFusion
from models.fusion.concat import ConcatFusion
from models.fusion.conv_mmtm import ConvMmtmFusion
from models.fusion.early import EarlyFusion
from models.fusion.gmu import GmuFusion
from models.fusion.late import LateFusion
from models.fusion.mfas import MfasFusion
from models.fusion.mmtm import MmtmFusion
from models.fusion.msaf import MsafFusion
from models.fusion.se import SeFusion

__all__ = ["FUSIONS", "Fusion", "FusionPoint", "FusionState", "build_fusion"]

FUSIONS: dict[str, Callable[..., Fusion]] = {
    "late": LateFusion,
    "early": EarlyFusion,
    "concat": ConcatFusion,
    "se": SeFusion,
    "mmtm": MmtmFusion,
    "mmtm-code": partial(MmtmFusion, form="code"),
    "conv-gate": partial(ConvMmtmFusion, operation="gate"),
    "conv-sum": partial(ConvMmtmFusion, operation="sum"),
    "msaf": MsafFusion,
    "gmu": GmuFusion,
    "centralnet": CentralNetFusion,
    "mfas": MfasFusion,
}


def build_fusion(
    name: str,
    points: Sequence[FusionPoint],
    n_classes: int,
    *,
    n_modules: int | None = None,
    **settings: Any,
) -> Fusion:
    """A fusion with fresh weights.

    Args:
        name: A key of `FUSIONS`.
        points: The depths where the streams meet, shallow to deep.
        n_classes: K of the decision.
        n_modules: Fuse at the last so many depths only (short for `at`).
        **settings: Of that fusion, as its class says. All but `mfas`, whose layers name their
            depths, take `at`, the indices of the depths where they act.

    Raises:
        ValueError: The name, a setting or the number of modules is unknown or does not fit.
    """
    if name not in FUSIONS:
        raise ValueError(f"fusion: expected one of {sorted(FUSIONS)}, found {name!r}")
    if n_modules is not None:
        if not 0 <= n_modules <= len(points) or "at" in settings:
            raise ValueError(f"fusion: n_modules={n_modules} of {len(points)} depths, without at")
        settings["at"] = tuple(range(len(points) - n_modules, len(points)))
    try:
        return FUSIONS[name](points, n_classes, **settings)
    except TypeError as error:
        raise ValueError(f"fusion {name}: {error}") from error
