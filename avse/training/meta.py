"""Second-order meta-learning: a step on one loss, judged by another."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

Parameters = Mapping[str, Tensor]
Loss = Callable[[Parameters], Tensor]


def adapted(
    model: nn.Module,
    loss: Loss,
    names: Iterable[str],
    *,
    rate: float,
    n_steps: int = 1,
    is_second_order: bool = True,
) -> tuple[dict[str, Tensor], Tensor]:
    """Parameters after gradient steps on `loss`, still a function of those before.

    Args:
        model: Whose parameters to start from; it is not changed.
        loss: Of the parameters, for `torch.func.functional_call`.
        names: Which parameters move; the others are passed on as they are.
        rate: Length of a step.
        n_steps: How many.
        is_second_order: Keep the graph of the gradients; without, they count as constants.

    Returns:
        All parameters after the last step, and the loss before the first.

    Reference:
        Finn et al., MAML, ICML 2017, equation 1; Ma et al., SMIL, AAAI 2021, algorithm 1.
    """
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    moving = list(names)
    losses = []
    for _ in range(n_steps):
        losses.append(loss(parameters))
        gradients = torch.autograd.grad(
            losses[-1],
            [parameters[name] for name in moving],
            create_graph=is_second_order,
            retain_graph=True,
            materialize_grads=True,
        )
        steps = zip(moving, gradients, strict=True)
        parameters = parameters | {name: parameters[name] - rate * g for name, g in steps}
    return parameters, losses[0]
