"""What a recognition head says about a batch of windows."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """Opinions of the streams and of all together.

    Attributes:
        logits: `[B, K]` of each stream that was given, by its name.
        joint: `[B, K]`, the decision.
        penalty: Scalar, the fusion's regulariser of this pass; 0 where it has none.
    """

    logits: dict[str, Tensor]
    joint: Tensor
    penalty: Tensor
