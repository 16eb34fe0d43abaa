"""Muon: momentum made orthogonal, for weights that are matrices; Adam for all others."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Quintic Newton-Schulz iteration that takes singular values from 0..1 to about 1 (.7 to 1.2).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
N_ITERATIONS = 5
LEAST_SIDE = 16


class Muon(torch.optim.Optimizer):
    """Steps of the same spectral size in every direction of a weight matrix.

    A convolution's weights `[O, I, ...]` are the matrix `[O, I * ...]`. Vectors, and matrices with
    a side under 16, are left to Adam. Both decay weights apart from the gradient, as AdamW does.

    Reference:
        Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks".
        Liu et al., 2025, arXiv 2502.16982, section 2.2: `W -= r (.2 sqrt(max(rows, columns)) O +
        d W)`, so that the size of a step, and with it the rate `r`, is about that of AdamW.

    Differs:
        `torch.optim.Muon` takes two-dimensional weights only, and multiplies in bf16, which a CPU
        without units for it does slowly; here it is as asked for.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        products: torch.dtype = torch.float32,
    ) -> None:
        """`momentum`, and `products` of which type, for matrices; `betas` for what Adam is left."""
        self.products = products
        settings = {"weight_decay": weight_decay, "momentum": momentum, "betas": betas}
        super().__init__(params, {"lr": lr} | settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step down the gradients that are there; a closure is not called."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                move = self._by_muon if _is_matrix(weights) else self._by_adam
                weights.add_(move(weights, group), alpha=-group["lr"])

    def _by_muon(self, weights: Tensor, group: dict[str, Any]) -> Tensor:
        state, grad = self.state[weights], weights.grad
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(weights)
        kept = state["momentum"].mul_(group["momentum"]).add_(grad)
        matrix = (grad + group["momentum"] * kept).flatten(1)  # Nesterov's
        size = 0.2 * float(max(matrix.shape)) ** 0.5
        step: Tensor = size * orthogonal(matrix, self.products).reshape(weights.shape)
        return step

    def _by_adam(self, weights: Tensor, group: dict[str, Any]) -> Tensor:
        state, grad = self.state[weights], weights.grad
        assert grad is not None
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = (torch.zeros_like(weights) for _ in range(2))
        state["step"] += 1
        shares = [1 - beta ** float(state["step"]) for beta in group["betas"]]
        mean = state["mean"].lerp_(grad, 1 - group["betas"][0]) / shares[0]
        square = state["square"].lerp_(grad.square(), 1 - group["betas"][1]) / shares[1]
        step: Tensor = mean / (square.sqrt() + 1e-8)
        return step


def orthogonal(matrix: Tensor, products: torch.dtype = torch.float32) -> Tensor:
    """Nearly `U V^T` of `matrix = U S V^T`, `[R, C]`: its directions, without their sizes.

    Computed in the type `products`, given back in that of the matrix. The singular values come out
    between .7 and 1.2; those that are next to nothing beside the greatest stay small.
    """
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if is_tall else matrix
    x = (x / torch.linalg.matrix_norm(x).clamp_min(1e-7)).to(products)
    for _ in range(N_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.T if is_tall else x).to(matrix.dtype)


def _is_matrix(weights: Tensor) -> bool:
    return weights.dim() > 1 and min(weights.flatten(1).shape) >= LEAST_SIDE
