"""Properties of the transfer module."""

import pytest
import torch

from models.mmtm import MMTM, MmtmConfig, excitation_penalty


def streams(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def stirred(config: MmtmConfig) -> MMTM:
    """A module whose excitations are not zero."""
    torch.manual_seed(0)
    module = MMTM(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module


@pytest.mark.parametrize("squeeze", ["clip", "frame"])
def test_fresh_module_is_the_identity(squeeze: str) -> None:
    features = streams((2, 8, 12, 5), (2, 6, 3, 4, 4))
    outputs = MMTM(MmtmConfig((8, 6), squeeze))(features)  # type: ignore[arg-type]
    for given, back in zip(features, outputs, strict=True):
        assert torch.equal(given, back)


def test_any_rank_and_any_number_of_modalities() -> None:
    features = streams((2, 4), (2, 6, 7), (2, 8, 3, 4, 5))
    outputs = stirred(MmtmConfig((4, 6, 8)))(features)
    assert [o.shape for o in outputs] == [f.shape for f in features]
    assert all(not torch.equal(o, f) for o, f in zip(outputs, features, strict=True))


def test_both_gated_outputs_carry_the_other_modality() -> None:
    first, second = streams((1, 4, 6), (1, 6, 6))
    module = stirred(MmtmConfig((4, 6)))
    before = module([first, second])
    after_second = module([first, second + 1])
    after_first = module([first + 1, second])
    assert not torch.allclose(before[0], after_second[0])
    assert not torch.allclose(before[1], after_first[1])


def test_one_sided_gate_returns_the_other_stream_untouched() -> None:
    features = streams((1, 4, 6), (1, 6, 6))
    outputs = stirred(MmtmConfig((4, 6), is_gated=(True, False)))(features)
    assert outputs[1] is features[1]
    assert not torch.equal(outputs[0], features[0])


def test_joint_width_is_a_quarter_of_the_sum() -> None:
    assert MMTM(MmtmConfig((480, 480))).squeeze.out_features == 240


def test_gesture_and_action_parameter_counts() -> None:
    inception = (512, 512, 528, 832, 832, 1024)
    two = sum(p.numel() for n in inception for p in MMTM(MmtmConfig((n, n))).parameters())
    three = sum(p.numel() for n in inception for p in MMTM(MmtmConfig((n, n, n))).parameters())
    assert round(two / 1e6, 2) == 6.48
    assert round(three / 1e6, 2) == 14.58


def test_frame_squeeze_acts_in_its_own_frame_only() -> None:
    sound, lips = streams((1, 4, 8, 3), (1, 6, 4))
    module = stirred(MmtmConfig((4, 6), "frame"))
    before = module([sound, lips])[0]
    changed = lips.clone()
    changed[:, :, 1] += 1
    after = module([sound, changed])[0]
    differs = (before != after).any(dim=3).any(dim=1)[0]
    assert differs.tolist() == [False, False, True, True, False, False, False, False]


def test_clip_squeeze_ignores_when() -> None:
    sound, lips = streams((1, 4, 8, 3), (1, 6, 4))
    module = stirred(MmtmConfig((4, 6), "clip"))
    assert torch.allclose(module([sound, lips])[0], module([sound, lips.flip(2)])[0], atol=1e-6)


def test_permuting_modalities_permutes_outputs() -> None:
    first, second = streams((1, 4, 6), (1, 6, 6))
    module = stirred(MmtmConfig((4, 6)))
    swapped = MMTM(MmtmConfig((6, 4)))
    weight = module.squeeze.weight
    swapped.squeeze.weight = torch.nn.Parameter(torch.cat([weight[:, 4:], weight[:, :4]], 1))
    swapped.squeeze.bias = module.squeeze.bias
    swapped.excite = torch.nn.ModuleList([module.excite[1], module.excite[0]])
    straight, crossed = module([first, second]), swapped([second, first])
    assert torch.allclose(straight[0], crossed[1], atol=1e-6)
    assert torch.allclose(straight[1], crossed[0], atol=1e-6)


def test_every_parameter_receives_a_gradient() -> None:
    features = streams((2, 4, 6), (2, 6, 6))
    module = stirred(MmtmConfig((4, 6), "frame"))
    loss = sum(x.square().sum() for x in module(features))
    loss = loss + excitation_penalty(module.excitations(features))
    loss.backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match=r"expected channels \(4, 6\), found \(4, 5\)"):
        MMTM(MmtmConfig((4, 6)))(streams((1, 4, 6), (1, 5, 6)))
