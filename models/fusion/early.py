"""Early fusion: the streams are concatenated once, where they first meet."""

from collections.abc import Sequence

from torch import Tensor, nn

from models.fusion.base import (
    Fusion,
    FusionPoint,
    FusionState,
    gated_streams,
    joined_at_places_of,
    pointwise,
    zero_linear,
)


class EarlyFusion(Fusion):
    """All streams, concatenated at the first depth of `at`, are mixed into each of them.

        out_m = x_m + W_m [x_1, ..., x_N]      (a 1x1 convolution)

    A fresh module changes nothing. The decision is the mean of the logits.

    Reference:
        Joze et al., MMTM, CVPR 2020, figure 1 (a).

    Differs:
        The paper's early fusion is one tower over concatenated inputs, which leaves nothing of the
        unimodal towers; here each tower goes on with its own width, so that it can keep its
        weights. Streams of another spatial shape are averaged over the axes they do not share.
    """

    def __init__(
        self,
        points: Sequence[FusionPoint],
        n_classes: int,
        *,
        at: Sequence[int] | None = None,
        is_gated: Sequence[bool] | None = None,
    ) -> None:
        """Build the mixing maps of the first depth of `at` (default: the first of all).

        `is_gated` says which streams are changed; None = all.
        """
        super().__init__(points, n_classes, (0,) if at is None else sorted(at)[:1])
        channels = self.points[self.at[0]].channels if self.at else ()
        self.mixes = nn.ModuleList(
            zero_linear(sum(channels), n) if is_changed else nn.Identity()
            for n, is_changed in zip(
                channels, gated_streams(is_gated, self.n_streams), strict=False
            )
        )

    def fuse(self, state: FusionState, depth: int, features: list[Tensor]) -> list[Tensor]:
        """Each stream plus its mix of all."""
        return [
            x + pointwise(mix, joined_at_places_of(x, features))
            if isinstance(mix, nn.Linear)
            else x
            for x, mix in zip(features, self.mixes, strict=True)
        ]
