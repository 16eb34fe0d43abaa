"""HCN: the shapes of the paper, one person or two, cuts that change nothing."""

import pytest
import torch

from models.hcn import HCN, LAYERS, HCNConfig, fill_absent, velocities

SMALL = HCNConfig(n_classes=3, n_joints=5, n_frames=16, width=0.25, dropout=0.0)


def test_sizes_are_those_of_the_paper() -> None:
    network = HCN(HCNConfig(n_joints=25)).eval()
    x = torch.randn(2, 3, 32, 25, 2)
    low = network.low(x)
    conv5 = network.conv5(low)
    conv6 = network.conv6(conv5)
    assert low.shape == (2, 2, 128, 8, 8)
    assert conv5.shape == (2, 128, 2, 4, 4)
    assert conv6.shape == (2, 256, 2, 2, 2)
    assert network.fc7(conv6).shape == (2, 512)
    assert network(x).shape == (2, 60)


def test_cut_anywhere_it_says_the_same() -> None:
    network = HCN(SMALL).eval()
    x = torch.randn(2, 3, 16, 5, 1)
    for layer in LAYERS:
        cut = network.run(network.run(x, None, layer), layer)
        torch.testing.assert_close(network.classify(cut), network(x))


def test_one_person_and_an_empty_place_are_the_same() -> None:
    network = HCN(SMALL).eval()
    one = torch.randn(2, 3, 16, 5, 1)
    nobody = torch.zeros_like(one)
    expected = network(one)
    torch.testing.assert_close(network(torch.cat([one, nobody], 4)), expected)
    torch.testing.assert_close(network(torch.cat([nobody, one], 4)), expected)
    # What a fusion squeezes does not change either.
    squeezed = network.run(torch.cat([one, nobody], 4), None, "conv5").mean((2, 3, 4))
    torch.testing.assert_close(squeezed, network.run(one, None, "conv5").mean((2, 3, 4)))


def test_two_persons_may_change_places() -> None:
    network = HCN(SMALL).eval()
    pair = torch.randn(2, 3, 16, 5, 2)
    torch.testing.assert_close(network(pair), network(pair.flip(4)))
    assert not torch.allclose(network(pair), network(pair[..., :1]))


def test_nobody_at_all_passes() -> None:
    assert torch.equal(fill_absent(torch.zeros(1, 3, 16, 5, 2)), torch.zeros(1, 3, 16, 5, 2))


def test_standing_still_is_no_motion() -> None:
    still = torch.randn(1, 3, 1, 5).expand(1, 3, 16, 5)
    assert velocities(still).abs().max() == 0
    steady = torch.arange(16.0).view(1, 1, 16, 1).expand(1, 3, 16, 5)
    torch.testing.assert_close(velocities(steady), torch.ones(1, 3, 16, 5))


def test_every_parameter_gets_a_gradient() -> None:
    network = HCN(SMALL).train()
    network(torch.randn(4, 3, 16, 5, 2)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        HCNConfig(n_frames=30)
    with pytest.raises(ValueError, match="found"):
        HCN(SMALL)(torch.zeros(1, 3, 16, 6, 1))
    with pytest.raises(ValueError, match="expected a layer"):
        HCN(SMALL).run(torch.zeros(1), "conv7")
    with pytest.raises(ValueError, match="expected a layer"):
        HCNConfig().channels_after("conv1")
