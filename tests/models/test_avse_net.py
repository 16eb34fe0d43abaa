"""Properties of the enhancer and of the lips/sound towers, at tiny sizes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.fusion import FusionPoint, build_fusion
from models.lip_sync import LipSync, LipSyncConfig
from models.mask_sparing import spared
from models.mel_bands import mel_to_bins
from models.visual_tower import SlidingConv, VisualTowerConfig

TINY = VisualTowerConfig(widths=(4, 6, 8, 10), input_px=32)


def tiny(fusion: str, squeeze: str = "frame", **more: Any) -> AvseNet:
    torch.manual_seed(0)
    config = AvseConfig(fusion, squeeze, TINY, encoder_widths=(4, 6, 8, 10), n_bottleneck=12)  # type: ignore[arg-type]
    net = AvseNet(replace(config, **more))
    for parameter in net.parameters():
        if parameter.abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.2)
    return net


def batch(n_frames: int = 8) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    log_mel = torch.randn(2, 4 * n_frames, 80, generator=generator)
    magnitude = torch.rand(2, 4 * n_frames, 321, generator=generator)
    crops = torch.randint(0, 256, (2, n_frames, 48, 48), generator=generator, dtype=torch.uint8)
    return log_mel, magnitude, crops, torch.ones(2, n_frames, dtype=torch.bool)


@pytest.mark.parametrize(
    ("fusion", "squeeze"),
    [
        ("mmtm", "frame"),
        ("mmtm", "clip"),
        ("concat", "frame"),
        ("audio_only", "frame"),
        ("mmtm-code", "frame"),
        ("conv-gate", "frame"),
        ("conv-sum", "frame"),
        ("msaf", "frame"),
    ],
)
def test_mask_shape_range_and_gradients(fusion: str, squeeze: str) -> None:
    net = tiny(fusion, squeeze).train()
    log_mel, magnitude, crops, is_visible = batch()
    is_visible[0, :4] = False
    visual = net.encode_visual(crops)
    mask, _, penalty = net.listen(log_mel, magnitude, visual, is_visible)
    assert mask.shape == magnitude.shape
    assert mask.min() >= 0
    assert mask.max() <= 1
    ((mask * torch.randn(mask.shape)).sum() + penalty).backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert unused == []


AGAIN = {
    "listens_again": True,
    "more_dilations": (2, 1),
    "level_dilations": (1, 2),
    "bin_dilations": (2,),
    "n_lip_embedding": 6,
    "audio_widths": (4, 6, 8, 10),
}


def test_what_is_put_into_a_trained_network_changes_nothing_at_first() -> None:
    torch.manual_seed(0)
    config = AvseConfig("mmtm", "frame", TINY, encoder_widths=(4, 6, 8, 10), n_bottleneck=12)
    plain = AvseNet(replace(config, n_lip_embedding=6)).eval()
    again = AvseNet(replace(config, **AGAIN)).eval()  # type: ignore[arg-type]
    missing, unexpected = again.load_state_dict(plain.state_dict(), strict=False)
    parts = ("transfers.3.", "agreement.", "hint.", "evidence.")
    assert all(name.startswith(parts) or "blocks." in name for name in missing)
    assert unexpected == []
    log_mel, magnitude, crops, is_visible = batch()
    mask = again(log_mel, magnitude, crops, is_visible)
    torch.testing.assert_close(mask, plain(log_mel, magnitude, crops, is_visible))


def test_the_second_time_uses_what_the_first_found() -> None:
    net = tiny("mmtm", **AGAIN).train()
    log_mel, magnitude, crops, is_visible = batch()
    is_visible[0, :4] = False
    visual = net.encode_visual(crops)
    first = net.listen(log_mel, magnitude, visual, is_visible).mask
    mask, _, penalty = net.listen(log_mel, magnitude, visual, is_visible, first)
    assert (mask != first).float().mean() > 0.9
    ((mask * torch.randn(mask.shape)).sum() + penalty).backward()
    unused = [n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    shut = [name for name in unused if not name.startswith("agreement.")]
    assert all("blocks." in name and ".norm2." not in name for name in shut)


def test_what_the_network_doubts_is_what_it_hears_without_lips() -> None:
    net = tiny("mmtm", **AGAIN, trust=(2.0, 3.0)).eval()
    sound, magnitude, crops, is_visible = batch(16)
    is_visible[1] = False
    with torch.no_grad():
        visual = net.encode_visual(crops)
        heard = net.hear(sound, magnitude, visual, is_visible)
        blind = net.hear(sound, magnitude, visual, torch.zeros_like(is_visible))
        assert heard.doubt[0] > 0
        assert heard.doubt[1] == 0
        net.config = replace(net.config, trust=(0.0, 0.0))
        seen = net.hear(sound, magnitude, visual, is_visible)
    assert not seen.doubt.any()
    expected = torch.lerp(seen.mask, blind.mask, heard.doubt[:, None, None])
    torch.testing.assert_close(heard.mask, expected)
    assert not torch.equal(heard.mask[0], seen.mask[0])


def test_a_convolution_over_pictures_is_the_same_as_over_time_and_pictures() -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"stride": (1, 2, 2), "padding": (2, 3, 3), "bias": False}
    whole = nn.Conv3d(1, 8, (5, 7, 7), **shape)
    sliding = SlidingConv(1, 8, (5, 7, 7), **shape)
    sliding.load_state_dict(whole.state_dict())
    pictures = torch.randn(2, 9, 24, 20)
    wanted = whole(pictures[:, None]).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(sliding(pictures), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        found = sliding(pictures)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0.02)


def test_a_mouth_and_its_mirror_image_are_alike_if_asked_for() -> None:
    net = tiny("mmtm").eval()
    crops = batch()[2]
    with torch.no_grad():
        plain, mirrored = net.encode_visual(crops), net.encode_visual(crops.flip(3))
        assert not torch.equal(plain[0], mirrored[0])
        net.config = replace(net.config, mirrors_lips=True)
        both, other = net.encode_visual(crops), net.encode_visual(crops.flip(3))
    for one, two, mean, again in zip(plain, mirrored, both, other, strict=True):
        torch.testing.assert_close(mean, (one + two) / 2)
        torch.testing.assert_close(mean, again)
    assert tiny("audio_only", mirrors_lips=True).encode_visual(crops) == []


@pytest.mark.parametrize("more", [{}, AGAIN])
def test_what_is_heard_is_the_mask_to_a_power(more: dict[str, Any]) -> None:
    net = tiny("mmtm", **more).eval()
    sound, magnitude, crops, is_visible = batch()
    with torch.no_grad():
        visual = net.encode_visual(crops)
        plain = net.hear(sound, magnitude, visual, is_visible)
        net.config = replace(net.config, mask_power=0.5)
        soft = net.hear(sound, magnitude, visual, is_visible)
    torch.testing.assert_close(soft.mask, plain.mask.sqrt())
    with pytest.raises(ValueError, match="mask_power: expected above 0, found"):
        AvseConfig(mask_power=0.0)


@pytest.mark.parametrize("more", [{}, AGAIN])
def test_the_network_spares_what_it_hears_when_it_is_told_to(more: dict[str, Any]) -> None:
    net = tiny("mmtm", **more).eval()
    sound, magnitude, crops, is_visible = batch()
    with torch.no_grad():
        visual = net.encode_visual(crops)
        plain = net.hear(sound, magnitude, visual, is_visible).mask
        net.config = replace(net.config, spares_db=(-40.0, 0.0))
        found = net.hear(sound, magnitude, visual, is_visible).mask
    torch.testing.assert_close(found, spared(plain, magnitude, (-40.0, 0.0)))
    assert not torch.equal(found, plain)


def test_trust_rises_and_needs_a_second_time() -> None:
    with pytest.raises(ValueError, match="trust: expected two rising values"):
        AvseConfig(listens_again=True, trust=(0.2, 0.1))
    with pytest.raises(ValueError, match="trust: expected two rising values"):
        AvseConfig(trust=(0.05, 0.15))


def test_a_second_time_needs_lips_and_their_embedding() -> None:
    for settings in ({"fusion": "audio_only"}, {"n_lip_embedding": 0}):
        with pytest.raises(ValueError, match="listens_again: expected lips and their embedding"):
            AvseConfig(listens_again=True, **settings)  # type: ignore[arg-type]


def test_published_names_of_the_transfer_modules() -> None:
    net = tiny("mmtm")
    keys = {key for key in net.state_dict() if key.startswith(("transfers.", "fusion."))}
    parts = ("squeeze.weight", "squeeze.bias", "excite.0.weight", "excite.0.bias")
    assert keys == {f"transfers.{i}.{part}" for i in range(3) for part in parts}


def test_mmtm_of_the_fusion_family_is_the_same_network() -> None:
    net = tiny("mmtm").eval()
    channels = [(t.config.channels[0], t.config.channels[1]) for t in net.transfers]
    family = build_fusion(
        "mmtm", [FusionPoint(c) for c in channels], 1, squeeze="frame", is_gated=(True, False)
    )
    weights = {k: v for k, v in net.state_dict().items() if k.startswith("transfers.")}
    family.load_state_dict(weights)
    state = family.begin()
    for index, (n_sound, n_lips) in enumerate(channels):
        streams = [torch.randn(2, n_sound, 8), torch.randn(2, n_lips, 8)]
        ours = net.transfers[index](streams)[0]
        assert torch.equal(ours, family(state, index, streams)[0])


@pytest.mark.parametrize("fusion", ["mmtm", "mmtm-code", "conv-gate", "conv-sum", "msaf"])
def test_invisible_crops_have_no_effect(fusion: str) -> None:
    net = tiny(fusion).eval()
    log_mel, magnitude, crops, is_visible = batch()
    hidden = torch.zeros_like(is_visible)
    other = torch.zeros_like(crops)
    assert torch.equal(
        net(log_mel, magnitude, crops, hidden), net(log_mel, magnitude, other, hidden)
    )
    assert not torch.equal(
        net(log_mel, magnitude, crops, is_visible), net(log_mel, magnitude, other, is_visible)
    )


@pytest.mark.parametrize("scales", [True, False])
def test_scaled_lips_make_up_for_how_far_a_feature_goes(scales: bool) -> None:
    net = tiny("mmtm", scales_lips=scales, n_lip_embedding=0).eval()
    log_mel, magnitude, _, is_visible = batch(24)
    generator = torch.Generator().manual_seed(2)
    visual = [3 * torch.randn(2, 24, c, generator=generator) for c in net.visual.feature_channels]
    is_visible[:, :5] = False
    with torch.inference_mode():
        mask = net.mask(log_mel, magnitude, visual, is_visible)
        farther = net.mask(log_mel, magnitude, [3 * x for x in visual], is_visible)
        still = net.mask(log_mel, magnitude, [0.01 * x for x in visual], is_visible)
    change = (farther - mask).abs().mean() / (still - mask).abs().mean()
    assert (change < 0.2) == scales


def test_a_turning_head_goes_with_the_mean_around_each_picture() -> None:
    log_mel, magnitude, _, is_visible = batch(48)
    generator = torch.Generator().manual_seed(2)
    is_visible[0, 10:20] = False
    turning = torch.linspace(0, 6, 48)[None, :, None]
    changes = {}
    for n_frames in (0, 9):
        net = tiny("mmtm", centre_frames=n_frames, n_lip_embedding=0).eval()
        visual = [torch.randn(2, 48, c, generator=generator) for c in net.visual.feature_channels]
        with torch.inference_mode():
            mask = net.mask(log_mel, magnitude, visual, is_visible)
            turned = net.mask(log_mel, magnitude, [x + turning for x in visual], is_visible)
        inner = slice(4 * 24, 4 * 40)  # away from the ends and from the hidden pictures
        changes[n_frames] = (turned - mask)[:, inner].abs().mean().item()
    assert changes[9] < 0.1 * changes[0]


def test_an_even_number_of_pictures_has_no_middle() -> None:
    with pytest.raises(ValueError, match="centre_frames: expected 0 or odd, found 8"):
        AvseConfig(centre_frames=8)


def test_dropout_changes_training_only() -> None:
    net = tiny("mmtm")
    thinned = AvseNet(replace(net.config, dropout=0.5))
    thinned.load_state_dict(net.state_dict())
    inputs = batch()
    assert torch.equal(net.eval()(*inputs), thinned.eval()(*inputs))
    assert not torch.equal(net.train()(*inputs), thinned.train()(*inputs))


def test_lengths_that_disagree_raise() -> None:
    log_mel, magnitude, crops, is_visible = batch()
    with pytest.raises(ValueError, match="32 STFT frames for 7 pictures"):
        tiny("mmtm")(log_mel, magnitude, crops[:, :7], is_visible[:, :7])


def test_mel_bands_spread_to_bins_as_an_average() -> None:
    weights = mel_to_bins(80, 321, 16_000)
    assert weights.shape == (80, 321)
    assert torch.allclose(weights.sum(0), torch.ones(321), atol=1e-5)


def test_lip_sync_embeddings_are_unit_vectors_at_video_rate() -> None:
    model = LipSync(LipSyncConfig(TINY, n_embedding=16, audio_widths=(4, 6, 8, 10))).eval()
    log_mel, _, crops, _ = batch()
    seen, heard = model.embed_video(crops), model.embed_audio(log_mel)
    assert seen.shape == heard.shape == (2, 8, 16)
    assert torch.allclose(seen.norm(dim=2), torch.ones(2, 8), atol=1e-5)
