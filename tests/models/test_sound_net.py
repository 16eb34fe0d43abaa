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


def test_a_phase_of_its_own_changes_nothing_until_it_learns_and_then_the_lowest_bins() -> None:
    torch.manual_seed(0)
    shape = replace(TINY, widths=(32, 6, 8, 8), phase_dilations=(1,), n_phase_bins=8)
    net = SoundNet(shape).eval()
    spectrum = torch.complex(torch.randn(1, 8, 321), torch.randn(1, 8, 321))
    is_visible = torch.zeros(1, 2, dtype=torch.bool)
    mask = net(spectrum.abs())
    assert torch.equal(net.hear(mask, spectrum, [], is_visible).mask.real, mask)
    torch.nn.init.normal_(net.phase.out_of.weight)
    heard = net.hear(mask, spectrum, [], is_visible).mask
    assert heard.imag[..., :8].any()
    assert torch.equal(heard[..., 8:], mask[..., 8:].to(heard.dtype))


def test_what_is_heard_is_the_mask_to_a_power_and_open_where_little_is_taken_away() -> None:
    net, magnitude = tiny(), torch.rand(1, 8, 321)
    is_visible = torch.zeros(1, 2, dtype=torch.bool)
    mask = net(magnitude)
    for shape, wanted in (
        (replace(TINY, mask_power=0.5), mask.sqrt()),
        (replace(TINY, spares_db=(-60.0, -50.0)), torch.ones_like(mask)),
    ):
        net.config = shape
        found = net.hear(mask, magnitude, [], is_visible).mask
        torch.testing.assert_close(found, wanted)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="widths"):
        SoundNetConfig(widths=(4, 8))
    with pytest.raises(ValueError, match="expected 32 first for a phase"):
        SoundNetConfig(widths=(4, 6, 8, 8), phase_dilations=(1,))
