import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from avse.training.meta import Parameters, adapted


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def loss_on(net: nn.Module, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(2, (5,), generator=generator)

    def loss(parameters: Parameters) -> Tensor:
        return F.cross_entropy(functional_call(net, dict(parameters), (x,)), y)

    return loss


def outer_gradients(net: nn.Module, *, is_second_order: bool) -> dict[str, Tensor]:
    names = [n for n, _ in net.named_parameters()]
    moved, _ = adapted(
        net, loss_on(net, 1), names, rate=0.5, n_steps=2, is_second_order=is_second_order
    )
    torch.autograd.backward(loss_on(net, 2)(moved))
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def test_the_outer_gradient_is_the_numeric_one() -> None:
    net = make_net()
    gradient = outer_gradients(net, is_second_order=True)["0.weight"]
    weight = net[0].weight

    def outer(shift: float, row: int, column: int) -> float:
        with torch.no_grad():
            weight[row, column] += shift
        names = [n for n, _ in net.named_parameters()]
        moved, _ = adapted(net, loss_on(net, 1), names, rate=0.5, n_steps=2)
        value = loss_on(net, 2)(moved).item()
        with torch.no_grad():
            weight[row, column] -= shift
        return value

    for row, column in ((0, 0), (2, 1), (3, 2)):
        numeric = (outer(1e-5, row, column) - outer(-1e-5, row, column)) / 2e-5
        torch.testing.assert_close(gradient[row, column].item(), numeric, rtol=1e-5, atol=1e-8)


def test_first_order_is_another_gradient() -> None:
    second = outer_gradients(make_net(), is_second_order=True)
    first = outer_gradients(make_net(), is_second_order=False)
    assert any((first[n] - second[n]).abs().max() > 1e-4 for n in first)


def test_one_step_is_plain_descent_and_leaves_the_model_alone() -> None:
    net = make_net()
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    moved, value = adapted(net, loss_on(net, 1), ["2.weight"], rate=0.1)
    torch.autograd.backward(value)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name])
    weight = net[2].weight
    assert weight.grad is not None
    torch.testing.assert_close(moved["2.weight"], weight - 0.1 * weight.grad)
    assert moved["0.weight"] is net[0].weight


def test_a_parameter_the_loss_does_not_know_stays() -> None:
    net = make_net()
    moved, _ = adapted(
        net, lambda p: p["0.weight"].square().sum(), ["0.weight", "2.bias"], rate=0.1
    )
    assert torch.equal(moved["2.bias"], net[2].bias)
    torch.testing.assert_close(moved["0.weight"], 0.8 * net[0].weight)
