"""What each fusion is by itself: its equation, its parameters, its settings."""

import pytest
import torch
from torch import Tensor

from models.fusion import Fusion, FusionPoint, build_fusion
from models.fusion.mfas import MfasFusion, MfasLayer
from models.fusion.msaf import MsafConfig

# After 4c, 4d, 4e, 4f, 5b, 5c of I3D.
INCEPTIONS = (512, 512, 528, 832, 832, 1024)
GESTURE = [FusionPoint((n, n)) for n in INCEPTIONS]
THREE_STREAMS = [FusionPoint((n, n, n)) for n in INCEPTIONS]
# 4f, 5b, 5c of I3D with conv5, conv6, fc7 of HCN.
ACTION = [FusionPoint((832, 128)), FusionPoint((832, 256)), FusionPoint((1024, 512))]
SMALL = [FusionPoint((8, 6))]


def n_parameters(name: str, points: list[FusionPoint], **settings: object) -> int:
    with torch.device("meta"):
        fusion = build_fusion(name, points, 25, **settings)
    return sum(p.numel() for p in fusion.parameters())


def stirred(name: str, points: list[FusionPoint] = SMALL, **settings: object) -> Fusion:
    torch.manual_seed(0)
    fusion = build_fusion(name, points, 3, **settings)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fusion.eval()


def streams(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def fused(fusion: Fusion, features: list[Tensor]) -> list[Tensor]:
    return fusion(fusion.begin(), 0, features)


@pytest.mark.parametrize(
    ("points", "millions"),
    [(GESTURE, 6.48), (THREE_STREAMS, 14.58), (ACTION, 2.24)],
    ids=["gesture, 2 streams", "gesture, 3 streams", "action"],
)
def test_mmtm_has_the_parameters_of_the_paper(points: list[FusionPoint], millions: float) -> None:
    assert round(n_parameters("mmtm", points) / 1e6, 2) == millions


def test_table_6_same_parameters_with_and_without_squeeze_and_transfer() -> None:
    mmtm = n_parameters("mmtm", GESTURE)
    assert n_parameters("conv-gate", GESTURE) == mmtm
    assert n_parameters("conv-sum", GESTURE) == mmtm
    assert n_parameters("se", GESTURE) == pytest.approx(mmtm, rel=1e-3)
    assert n_parameters("mmtm-code", GESTURE) == pytest.approx(2 * mmtm, rel=1e-3)
    assert n_parameters("late", GESTURE) == 0


def test_convolutional_gate_without_space_is_mmtm() -> None:
    mmtm, conv = stirred("mmtm"), stirred("conv-gate")
    conv.load_state_dict(mmtm.state_dict())
    vectors = streams((2, 8), (2, 6))
    flat = [x[:, :, None, None].expand(-1, -1, 3, 4) for x in vectors]
    for given in (vectors, flat):
        for x, y in zip(fused(mmtm, given), fused(conv, given), strict=True):
            assert torch.allclose(x, y, atol=1e-6)


@pytest.mark.parametrize("name", ["conv-gate", "conv-sum"])
def test_aligned_streams_act_place_by_place(name: str) -> None:
    first, second = streams((1, 8, 4, 3), (1, 6, 4, 3))
    changed = second.clone()
    changed[:, :, 1, 2] += 1
    fusion = stirred(name)
    before, after = fused(fusion, [first, second])[0], fused(fusion, [first, changed])[0]
    assert (before != after).any(1)[0].nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("name", ["conv-gate", "conv-sum", "early"])
def test_streams_that_share_time_meet_step_by_step(name: str) -> None:
    maps, sequence = streams((1, 8, 4, 3), (1, 6, 4))
    changed = sequence.clone()
    changed[:, :, 1] += 1
    fusion = stirred(name)
    before, after = fused(fusion, [maps, sequence])[0], fused(fusion, [maps, changed])[0]
    assert (before != after).any(3).any(1)[0].tolist() == [False, True, False, False]
    lower, shifted = maps.clone(), sequence.clone()
    lower[:, :, :, 0] += 1
    lower[:, :, :, 1] -= 1  # the same average over the axis they do not share
    assert torch.allclose(
        fused(fusion, [maps, shifted])[1], fused(fusion, [lower, shifted])[1], atol=1e-5
    )


@pytest.mark.parametrize("name", ["mmtm", "mmtm-code", "conv-gate", "conv-sum", "early", "se"])
def test_one_sided_fusions_have_no_weights_for_the_other_side(name: str) -> None:
    fusion = stirred(name, is_gated=[True, False])
    given = streams((2, 8, 4), (2, 6, 4))
    state = fusion.begin()
    first, second = fusion(state, 0, given)
    assert not torch.equal(first, given[0])
    assert torch.equal(second, given[1])
    (first.square().sum() + fusion.penalty(state)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fusion.parameters())
    with pytest.raises(ValueError, match="is_gated names 1 of 2"):
        build_fusion(name, SMALL, 3, is_gated=[True])


def test_gates_stay_between_zero_and_two() -> None:
    given = [torch.ones(2, 8, 3), torch.ones(2, 6, 3)]
    for name, largest in (("mmtm", 2), ("mmtm-code", 1), ("se", 2), ("conv-gate", 2)):
        for gate in fused(stirred(name), given):
            assert 0 < gate.min() <= gate.max() < largest


def test_frame_squeeze_keeps_time_and_one_stream_can_stay_as_it_is() -> None:
    fusion = stirred("mmtm", squeeze="frame", is_gated=[True, False])
    first, second = streams((1, 8, 4, 3), (1, 6, 4))
    changed = second.clone()
    changed[:, :, 1] += 1
    before, after = fused(fusion, [first, second]), fused(fusion, [first, changed])
    assert (before[0] != after[0]).any(3).any(1)[0].tolist() == [False, True, False, False]
    assert torch.equal(before[1], second)


def test_penalty_is_the_mean_square_of_the_excitations() -> None:
    fusion = stirred("mmtm")
    state = fusion.begin()
    fusion(state, 0, streams((2, 8), (2, 6)))
    expected = (state.excitations[0].square().mean() + state.excitations[1].square().mean()) / 2
    assert torch.equal(fusion.penalty(state), expected)
    assert build_fusion("gmu", SMALL, 3).penalty(state.__class__()) == 0


def test_se_listens_to_its_own_stream_only() -> None:
    first, second = streams((1, 8, 4), (1, 6, 4))
    fusion = stirred("se")
    assert torch.equal(fused(fusion, [first, second])[0], fused(fusion, [first, second + 1])[0])
    assert not torch.equal(fused(fusion, [first, second])[0], first)


def test_msaf_attention_of_all_blocks_sums_to_one() -> None:
    fusion = stirred("msaf", [FusionPoint((8, 6))], block_channels=2, lowest=0.0)
    first, second = fused(fusion, [torch.ones(3, 8, 5), torch.ones(3, 6)])
    shares = torch.cat([first[:, :, 0].reshape(3, 4, 2), second.reshape(3, 3, 2)], 1)
    assert torch.allclose(shares.sum(1), torch.ones(3, 2))


def test_msaf_takes_channels_that_do_not_divide_into_blocks() -> None:
    fusion = stirred("msaf", [FusionPoint((8, 7))], block_channels=3)
    features = streams((2, 8, 4, 3), (2, 7, 5))
    assert [x.shape for x in fused(fusion, features)] == [x.shape for x in features]


@pytest.mark.parametrize(
    ("channels", "width"),
    [((832, 128, 128), 64), ((1024, 512), 256), ((1024, 32), 16), ((2048, 64), 32)],
)
def test_msaf_blocks_are_as_wide_as_the_papers(channels: tuple[int, ...], width: int) -> None:
    assert MsafConfig().width(0, FusionPoint(channels)) == width


def test_msaf_segments_have_an_attention_each() -> None:
    fusion = stirred("msaf", n_segments=2, reduction=1)
    first, second = streams((2, 8, 4, 3), (2, 6, 5))
    changed = second.clone()
    changed[:, :, -1] += 1
    before, after = fused(fusion, [first, second])[0], fused(fusion, [first, changed])[0]
    assert (before != after).flatten(3).any(3).any(1)[0].tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="2 segments do not fit"):
        fused(fusion, streams((2, 8, 4), (2, 6)))


def test_msaf_drops_whole_blocks_in_training_only() -> None:
    fusion = stirred("msaf", block_channels=2, block_dropout=0.5)
    ones = [torch.ones(8, 8, 3), torch.ones(8, 6)]
    assert all((x > 0).all() for x in fused(fusion, ones))
    torch.manual_seed(0)
    shown = (fused(fusion.train(), ones)[1] > 0).reshape(8, 3, 2)
    assert torch.equal(shown[..., 0], shown[..., 1])
    assert 0 < shown.float().mean() < 1


def test_msaf_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="lowest and dropout in 0..1"):  # noqa: RUF043
        build_fusion("msaf", SMALL, 3, lowest=2)
    with pytest.raises(ValueError, match="2 block_channels for 1 depths"):
        build_fusion("msaf", SMALL, 3, block_channels=[2, 4])


def test_gmu_of_two_streams_is_the_papers_unit() -> None:
    fusion = stirred("gmu", width=4)
    first, second = streams((2, 8), (2, 6))
    joint = fusion.decide(fusion.begin(), [first, second], [first[:, :3], second[:, :3]])
    weights = fusion.state_dict()
    everything = torch.cat([first, second], 1)
    z = torch.sigmoid(
        everything @ (weights["gates.0.weight"] - weights["gates.1.weight"]).T
        + weights["gates.0.bias"] - weights["gates.1.bias"]
    )  # fmt: skip
    heard = [torch.tanh(p(x)) for p, x in zip(fusion.projections, (first, second), strict=True)]
    hidden = z * heard[0] + (1 - z) * heard[1]
    expected = hidden @ weights["classifier.weight"].T + weights["classifier.bias"]
    assert torch.allclose(joint, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["centralnet", "mfas"])
def test_a_joint_network_that_heard_nothing_says_so(name: str) -> None:
    fusion = build_fusion(name, SMALL, 3)
    vectors = streams((2, 8), (2, 6))
    with pytest.raises(ValueError, match=f"{name}: decide before forward"):
        fusion.decide(fusion.begin(), vectors, [x[:, :3] for x in vectors])


def test_centralnet_needs_a_depth_and_its_last_layer_hears_the_first() -> None:
    points = [FusionPoint((8, 6)), FusionPoint((5, 4))]
    fusion = stirred("centralnet", points, width=6)
    last = streams((4, 5), (4, 4))
    joints = []
    for first in (streams((4, 8), (4, 6)), [torch.zeros(4, 8), torch.zeros(4, 6)]):
        state = fusion.begin()
        fusion(state, 0, first)
        fusion(state, 1, last)
        joints.append(fusion.decide(state, last, [x[:, :3] for x in last]))
    assert not torch.allclose(*joints)
    with pytest.raises(ValueError, match="expected a depth"):
        build_fusion("centralnet", SMALL, 3, at=())


def test_mfas_reads_the_depths_it_was_told() -> None:
    points = [FusionPoint((8, 6)), FusionPoint((5, 4)), FusionPoint((7, 3))]
    layers = [{"depths": [2, 0], "activation": "sigmoid"}, MfasLayer((2, 2), "leaky_relu")]
    fusion = stirred("mfas", points, layers=layers, width=6)
    assert fusion.at == (0, 2)
    assert isinstance(fusion, MfasFusion)
    assert [layer.linear.in_features for layer in fusion.layers] == [7 + 6, 7 + 3]
    with pytest.raises(ValueError, match="layers over 2 streams"):
        build_fusion("mfas", points, 3, layers=[{"depths": [0, 1, 2]}])
    with pytest.raises(ValueError, match="found 'sine'"):
        MfasLayer((0, 1), "sine")  # type: ignore[arg-type]


def test_forms_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="form is 'paper' or 'code', found 'book'"):
        build_fusion("mmtm", SMALL, 3, form="book")
    with pytest.raises(ValueError, match="operation is 'gate' or 'sum', found 'max'"):
        build_fusion("conv-gate", SMALL, 3, operation="max")


def test_early_acts_at_its_first_depth_only() -> None:
    points = [FusionPoint((8, 6)), FusionPoint((5, 4))]
    assert build_fusion("early", points, 3).at == (0,)
    assert build_fusion("early", points, 3, at=(1, 0)).at == (0,)
    assert build_fusion("early", points, 3, n_modules=1).at == (1,)
