"""What every training of an enhancer does to its weights: layout, rate, average, on disk."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from avse.training.muon import Muon
from avse.training.run_folder import RunFolder

OptimiserName = Literal["adamw", "muon"]
Net = TypeVar("Net", bound=nn.Module)
Made = TypeVar("Made")


def channels_last(part: nn.Module) -> None:
    """The layout in which bf16 convolutions are a sixth faster; fp32 with AVX2 is slower in it."""
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


def optimiser_for(
    groups: list[dict[str, Any]],
    weight_decay: float,
    name: OptimiserName = "adamw",
    *,
    is_bf16: bool = False,
) -> torch.optim.Optimizer:
    """AdamW or Muon for groups of parameters; `set_rate` of the learner sets the rate.

    With `is_bf16` Muon makes its steps orthogonal in bfloat16; weights and moments stay float32.
    """
    if name == "muon":
        products = torch.bfloat16 if is_bf16 else torch.float32
        return Muon(groups, 1e-3, weight_decay, products=products)
    return torch.optim.AdamW(groups, 1e-3, weight_decay=weight_decay, betas=(0.9, 0.98), fused=True)


class Learner(Generic[Net]):
    """A network in training and its averaged twin, which a run folder brings back.

    Attributes:
        net: Learns.
        ema: The average, which is validated and shipped.
        optimiser: Of `net`; each group has a `share` of the rate.
        run: Where both are kept.
        step: Steps done.
        added: What parts begin with that can be put into a trained network, where they change
            nothing until they learn.
    """

    added: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, net: Net, ema: Net, optimiser: torch.optim.Optimizer, run: RunFolder
    ) -> None:
        """Both networks begin alike, or where the run stood."""
        self.net, self.ema, self.run = net, ema.eval(), run
        self.optimiser = optimiser
        self.step = 0
        state = run.load()
        if state is None:
            self.ema.load_state_dict(self.net.state_dict())
            return
        self.step = int(state["step"])
        self.net.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])

    def start_from(self, state: dict[str, Tensor]) -> None:
        """Begin a fresh run with the weights of an earlier one; a resumed run keeps its own.

        Args:
            state: The earlier weights; parts of `added` that they lack begin anew.

        Raises:
            RuntimeError: The weights do not fit.
        """
        if self.step:
            return
        fresh = {k: v for k, v in self.net.state_dict().items() if k.startswith(self.added)}
        for net in (self.net, self.ema):
            net.load_state_dict(fresh | state)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]

    def update(self, loss: Tensor, ema_decay: float) -> None:
        """One step down the loss."""
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        average_into(self.ema, self.net, min(ema_decay, 1 - 1 / (self.step + 1)))

    def save(self) -> None:
        """Replace the checkpoint."""
        state = {"step": self.step, "model": self.net.state_dict(), "ema": self.ema.state_dict()}
        self.run.save(state | {"optimiser": self.optimiser.state_dict()})


def made_ahead(make: Callable[[int], Made], first: int, n_steps: int) -> Iterator[Made]:
    """What `make` gives for `first` to `n_steps - 1`; the next is made while the last is used."""
    with ThreadPoolExecutor(1, "mixtures") as maker:
        coming = maker.submit(make, first)
        for step in range(first + 1, n_steps + 1):
            made = coming.result()
            coming = maker.submit(make, step)
            yield made
