"""The network that hears only: shapes, ranges, what it looks at."""

from dataclasses import replace

import pytest
import torch

from models.sound_net import SoundNet, SoundNetConfig

TINY = SoundNetConfig(widths=(4, 6, 8, 8), n_bottleneck=12, dilations=(1, 2))


def tiny() -> SoundNet:
    torch.manual_seed(0)
    return SoundNet(TINY).eval()


@pytest.mark.parametrize("n_frames", [4, 40, 116])
def test_the_mask_is_as_large_as_the_magnitude_and_between_0_and_1(n_frames: int) -> None:
    magnitude = torch.rand(2, n_frames, 321)
    mask = tiny()(magnitude)
    assert mask.shape == magnitude.shape
    assert bool(((mask >= 0) & (mask <= 1)).all())


def test_it_sees_nothing() -> None:
    net, magnitude = tiny(), torch.rand(1, 8, 321)
    assert not net.sees
    assert net.encode_visual(torch.zeros(1, 2, 112, 112)) == []
    is_visible = torch.ones(1, 2, dtype=torch.bool)
    heard = net.hear(torch.zeros(1, 8, 80), magnitude, [], is_visible)
    assert torch.equal(heard.mask, net(magnitude))
    assert not heard.doubt.any()


def test_every_bin_counts_but_the_last_which_follows_its_neighbour() -> None:
    net, magnitude = tiny(), torch.rand(1, 8, 321)
    before = net(magnitude)
    for index in (0, 100, 319):
        louder = magnitude.clone()
        louder[..., index] *= 5
        assert not torch.allclose(net(louder)[..., index], before[..., index])
    assert torch.equal(before[..., 320], before[..., 319])


def test_a_mask_is_in_step_with_its_sound() -> None:
    net = tiny()
    magnitude = torch.rand(1, 240, 321)
    later = torch.cat([magnitude[:, -8:], magnitude[:, :-8]], 1)
    middle = net(magnitude)[:, 100:140]
    assert torch.allclose(net(later)[:, 108:148], middle, atol=1e-5)


def test_blocks_put_into_a_trained_network_change_nothing_until_they_learn() -> None:
    plain, magnitude = tiny(), torch.rand(1, 8, 321)
    grown = SoundNet(replace(TINY, level_dilations=(1, 2))).eval()
    missing, unexpected = grown.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert all(name.startswith("level_blocks.") for name in missing)
    assert torch.equal(grown(magnitude), plain(magnitude))
    grown.train()(magnitude).sum().backward()
    scales = [p for n, p in grown.named_parameters() if n in missing and n.endswith("norm2.weight")]
    assert len(scales) == 8
    assert all(scale.grad is not None and scale.grad.abs().sum() > 0 for scale in scales)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="widths"):
        SoundNetConfig(widths=(4, 8))
