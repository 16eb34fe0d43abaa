"""What a mouth does, apart from whose it is, how it was filmed and how far its features go."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_SPREAD = 0.1


def centred(x: Tensor, is_visible: Tensor) -> Tensor:
    """`[B, V, C]` less its mean over the visible frames."""
    shown = is_visible.unsqueeze(2).to(x.dtype)
    return x - (x * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True).clamp(min=1)


def centred_around(x: Tensor, is_visible: Tensor, n_frames: int) -> Tensor:
    """`[B, V, C]` less its mean over the visible ones of the `n_frames` pictures around each."""
    shown = rearrange(is_visible, "b v -> b 1 v").to(x.dtype)
    parts = torch.cat([rearrange(x, "b v c -> b c v") * shown, shown], 1)
    around = F.avg_pool1d(parts, n_frames, 1, n_frames // 2)  # sums, but for one factor in both
    mean = around[:, :-1] / around[:, -1:].clamp_min(0.5 / n_frames)
    return x - rearrange(mean, "b c v -> b v c")


def power(x: Tensor, is_visible: Tensor) -> Tensor:
    """Mean square `[B, C]` of `[B, V, C]` over the visible frames."""
    shown = is_visible.unsqueeze(2).to(x.dtype)
    return (x.square() * shown).sum(1) / shown.sum(1).clamp(min=1)


def evened(y: Tensor, norm: nn.Module, found: Tensor) -> Tensor:
    """Normed features `[B, C, V]`, scaled as if their power were the training clips' mean.

    A tenth of that mean is added to both, so that the tremble of a still mouth stays small.
    """
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_var is not None
    share = found / (norm.running_var + norm.eps)  # [B, C]
    gain = ((1 + LEAST_SPREAD) / (share + LEAST_SPREAD)).sqrt().unsqueeze(2)
    centre = norm.bias[:, None]
    return centre + (y - centre) * gain
