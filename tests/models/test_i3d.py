"""I3D: the shapes of the paper, cuts that change nothing, TensorFlow's padding."""

import pytest
import torch
from torch import nn

from models.i3d import (
    I3D,
    INCEPTIONS,
    STAGES,
    ConvUnit,
    I3DConfig,
    SamePool,
    same_padding,
    stages_between,
)

GOLDEN = {
    "1a": (64, 32, 112, 112),
    "2a": (64, 32, 56, 56),
    "2b": (64, 32, 56, 56),
    "2c": (192, 32, 56, 56),
    "3a": (192, 32, 28, 28),
    "3b": (256, 32, 28, 28),
    "3c": (480, 32, 28, 28),
    "4a": (480, 16, 14, 14),
    "4b": (512, 16, 14, 14),
    "4c": (512, 16, 14, 14),
    "4d": (512, 16, 14, 14),
    "4e": (528, 16, 14, 14),
    "4f": (832, 16, 14, 14),
    "5a": (832, 8, 7, 7),
    "5b": (832, 8, 7, 7),
    "5c": (1024, 8, 7, 7),
}
SMALL = I3DConfig(n_classes=3, width=0.1, dropout=0.0)


def randomised(network: nn.Module) -> nn.Module:
    """Statistics that are not those of a fresh normalisation."""
    for name, buffer in network.named_buffers():
        buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else 0.0))
    return network


def test_sizes_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        network = I3D(I3DConfig()).eval()
        x = torch.zeros(1, 3, 64, 224, 224)
        for stage in STAGES:
            x = network.stages[stage](x)
            assert tuple(x.shape[1:]) == GOLDEN[stage], stage
            assert I3DConfig().channels_after(stage) == x.shape[1]
        assert network.pool(x).shape == (1, 1024, 7)
        assert network(torch.zeros(2, 3, 64, 224, 224)).shape == (2, 400)


def test_parameters_are_those_of_the_published_weights() -> None:
    with torch.device("meta"):
        network = I3D(I3DConfig())
    assert sum(p.numel() for p in network.parameters()) == 12_689_984
    assert sum(b.numel() for b in network.buffers()) == 2 * 7_280


def test_cut_anywhere_it_says_the_same() -> None:
    network = randomised(I3D(SMALL)).eval()
    clip = torch.randn(2, 3, 9, 40, 36)
    whole = network(clip)
    for stage in ("1a", "4e", *INCEPTIONS):
        torch.testing.assert_close(network.rest(network.stem(clip, stage), stage), whole)


def test_every_parameter_gets_a_gradient() -> None:
    network = I3D(SMALL).train()
    network(torch.randn(2, 3, 16, 64, 64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 33, 47), (16, 112, 112)])
def test_odd_and_small_clips_pass(shape: tuple[int, int, int]) -> None:
    assert I3D(SMALL).eval()(torch.zeros(1, 3, *shape)).shape == (1, 3)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (112, 7, 2, (2, 3)),
        (113, 7, 2, (3, 3)),
        (56, 3, 2, (0, 1)),
        (7, 2, 2, (0, 1)),
        (5, 3, 1, (1, 1)),
    ],
)
def test_padding_puts_the_odd_one_behind(
    size: int, kernel: int, stride: int, expected: tuple[int, int]
) -> None:
    assert same_padding([size], [kernel], [stride]) == expected


def test_sizes_are_divided_and_rounded_up() -> None:
    x = torch.zeros(1, 2, 5, 9, 8)
    assert ConvUnit(2, 3, 7, 2).eval()(x).shape == (1, 3, 3, 5, 4)
    assert SamePool((3, 3, 3), (2, 2, 2))(x - 1).shape == (1, 2, 3, 5, 4)
    assert SamePool((3, 3, 3), (2, 2, 2))(x - 1).max() == -1  # the border is no value


def test_normalisation_is_the_published_one() -> None:
    unit = ConvUnit(1, 1).eval()
    nn.init.ones_(unit.conv.weight)
    unit.norm.running_mean.fill_(2.0)
    unit.norm.running_var.fill_(4.0)
    nn.init.constant_(unit.norm.bias, 0.5)
    found = unit(torch.full((1, 1, 1, 1, 1), 6.0)).item()
    assert found == pytest.approx(4.0 / (4.0 + 1e-3) ** 0.5 + 0.5)


def test_wrong_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a stage"):
        stages_between(None, "6a")
    with pytest.raises(ValueError, match="not before 5b"):
        stages_between("5b", "4f")
    with pytest.raises(ValueError, match="expected a stage"):
        I3DConfig(omits=("9z",))
