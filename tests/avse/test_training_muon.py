"""Muon: what it does to matrices, what it leaves to Adam, and that a run can go on."""

import pytest
import torch
from torch import nn

from avse.training.muon import Muon, orthogonal


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (32, 32)])
def test_orthogonal_keeps_directions_and_evens_their_sizes(
    shape: tuple[int, int], products: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(shape, generator=generator)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix, products)
    assert found.dtype == torch.float32
    sizes = torch.diagonal(u.T @ found @ v.T)
    assert 0.5 < float(sizes.min()) <= float(sizes.max()) < 1.3


def test_orthogonal_does_not_mind_the_scale() -> None:
    matrix = torch.randn((16, 40), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(orthogonal(1000 * matrix), orthogonal(matrix), rtol=1e-3, atol=1e-4)


def test_a_step_is_as_large_as_one_of_adam() -> None:
    weights = nn.Parameter(torch.zeros(32, 16, 3, 3))
    weights.grad = torch.randn(weights.shape, generator=torch.Generator().manual_seed(3))
    Muon([weights], lr=0.01, weight_decay=0.0).step()
    assert float(weights.detach().square().mean().sqrt()) == pytest.approx(0.002, rel=0.2)


def test_vectors_and_thin_matrices_go_as_with_adamw() -> None:
    both = [[nn.Parameter(torch.ones(n)) for n in ((5,), (4, 40))] for _ in range(2)]
    ours = Muon(both[0], lr=0.01, weight_decay=0.1)
    theirs = torch.optim.AdamW(both[1], 0.01, betas=(0.9, 0.98), weight_decay=0.1)
    generator = torch.Generator().manual_seed(4)
    for _ in range(5):
        for mine, other in zip(*both, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other in zip(*both, strict=True):
        torch.testing.assert_close(mine, other)


def test_what_gets_no_gradient_stays() -> None:
    weights = nn.Parameter(torch.ones(32, 32))
    Muon([weights], lr=0.1, weight_decay=0.1).step()
    assert torch.equal(weights, torch.ones(32, 32))


def test_a_resumed_run_goes_on_as_if_never_stopped() -> None:
    straight, broken = (_layers() for _ in range(2))
    optimiser = Muon(straight.parameters(), lr=0.01, weight_decay=0.01)
    _learn(straight, optimiser, 4)
    first = Muon(broken.parameters(), lr=0.01, weight_decay=0.01)
    _learn(broken, first, 2)
    second = Muon(broken.parameters(), lr=0.01, weight_decay=0.01)
    second.load_state_dict(first.state_dict())
    _learn(broken, second, 2)
    for one, other in zip(straight.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_learns() -> None:
    layers = _layers()
    before = _loss(layers)
    _learn(layers, Muon(layers.parameters(), lr=0.02, weight_decay=0.0), 60)
    assert float(_loss(layers).detach()) < 0.2 * float(before.detach())


def _layers() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv1d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 16, 1))


def _loss(layers: nn.Sequential) -> torch.Tensor:
    sound = torch.randn((8, 16, 20), generator=torch.Generator().manual_seed(6))
    wanted = sound.cumsum(1).tanh()
    return (layers(sound) - wanted).square().mean()


def _learn(layers: nn.Sequential, optimiser: Muon, n_steps: int) -> None:
    for _ in range(n_steps):
        optimiser.zero_grad()
        torch.autograd.backward(_loss(layers))
        optimiser.step()
