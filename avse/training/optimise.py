"""What every training of an enhancer does to its weights: their layout, rate and average."""

import numpy as np
import torch
from torch import nn


def channels_last(part: nn.Module) -> None:
    """The memory layout in which convolutions are a sixth faster on a CPU."""
    for parameter in part.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def cosine_rate(step: int, n_steps: int) -> float:
    """Share of the peak rate: warm-up over 2 %, then a cosine to 2 %."""
    warm = max(1, n_steps // 50)
    if step < warm:
        return (step + 1) / warm
    share = (step - warm) / max(1, n_steps - warm)
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, share))))


@torch.no_grad()
def average_into(ema: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the averaged weights towards those of the net; buffers that count are copied."""
    pairs = list(zip(ema.state_dict().values(), net.state_dict().values(), strict=True))
    moving = [(kept, new) for kept, new in pairs if kept.is_floating_point()]
    torch._foreach_lerp_([kept for kept, _ in moving], [new for _, new in moving], 1 - decay)
    for kept, new in pairs:
        if not kept.is_floating_point():
            kept.copy_(new)
