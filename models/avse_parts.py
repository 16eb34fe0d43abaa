"""What passes between the parts of `AvseNet`."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Lips:
    """What is seen of a mouth.

    Attributes:
        streams: `[B, C_i, V]` at each depth, what does not move taken out.
        embedding: `[B, V, D]` of unit length, comparable with sounds; None without one.
    """

    streams: list[Tensor]
    embedding: Tensor | None = None


class Found(NamedTuple):
    """What one listening finds.

    Attributes:
        mask: `[B, T, F]` in 0..1.
        features: Behind the mask, see `BinRefiner`.
        penalty: Of the excitations, for the loss; zero without MMTM.
    """

    mask: Tensor
    features: Tensor
    penalty: Tensor
