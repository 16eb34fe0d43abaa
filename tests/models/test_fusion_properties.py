"""What holds for every fusion: shapes, ranks, gradients, order of streams, absent streams."""

import pytest
import torch
from torch import Tensor

from models.fusion import FUSIONS, Fusion, FusionPoint, build_fusion

N_CLASSES = 5
EVERY = pytest.mark.parametrize("name", sorted(FUSIONS))
# Fresh, these change nothing before the decision.
FRESH_IDENTITIES = (
    "late", "early", "concat", "se", "mmtm", "conv-gate", "conv-sum", "gmu", "centralnet", "mfas",
)  # fmt: skip
MEANS = ("late", "early", "se", "mmtm", "mmtm-code", "conv-gate", "conv-sum", "msaf")
TWO = (FusionPoint((8, 6)), FusionPoint((12, 10)))
THREE = (FusionPoint((8, 6, 10)), FusionPoint((12, 10, 14)))
# Spatial shapes of the streams: none, equal, and of different ranks.
SHAPES = {
    "vectors": ((), (), ()),
    "sequences": ((4,), (4,), (4,)),
    "clips": ((4, 3, 3), (4, 3, 3), (4, 3, 3)),
    "mixed": ((4, 3, 3), (4, 2), ()),
}


def stirred(name: str, points: tuple[FusionPoint, ...] = TWO, **settings: object) -> Fusion:
    """A fusion none of whose weights is zero, in eval mode."""
    torch.manual_seed(0)
    fusion = build_fusion(name, points, N_CLASSES, **settings)
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return fusion.eval()


def streams(
    points: tuple[FusionPoint, ...], shapes: tuple[tuple[int, ...], ...], n_batch: int = 4
) -> list[list[Tensor]]:
    """Features of each depth."""
    generator = torch.Generator().manual_seed(1)
    return [
        [
            torch.randn((n_batch, n, *shape), generator=generator)
            for n, shape in zip(point.channels, shapes, strict=False)
        ]
        for point in points
    ]


def passed(
    fusion: Fusion, depths: list[list[Tensor | None]], present: tuple[bool, ...] | None = None
) -> tuple[list[list[Tensor | None]], Tensor, Tensor]:
    """Outputs of each depth, joint logits, penalty; absent streams are None."""
    present = present or (True,) * fusion.n_streams
    state = fusion.begin()
    outputs = [
        fusion(state, i, [x if there else None for x, there in zip(given, present, strict=True)])
        for i, given in enumerate(depths)
    ]
    last = [x.flatten(2).mean(2) if x is not None and x.dim() > 2 else x for x in outputs[-1]]
    logits = [None if x is None else x[:, :N_CLASSES] for x in last]
    return outputs, fusion.decide(state, last, logits), fusion.penalty(state)


@EVERY
@pytest.mark.parametrize("points", [TWO, THREE], ids=["2 streams", "3 streams"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_same_shapes_out_at_any_rank(
    name: str, points: tuple[FusionPoint, ...], shapes: tuple[tuple[int, ...], ...]
) -> None:
    given = streams(points, shapes)
    outputs, joint, penalty = passed(stirred(name, points), given)
    for depth, back in zip(given, outputs, strict=True):
        assert [x.shape for x in depth] == [x.shape for x in back]
    assert joint.shape == (4, N_CLASSES)
    assert penalty.shape == ()
    assert torch.isfinite(joint).all()


@pytest.mark.parametrize("name", FRESH_IDENTITIES)
def test_fresh_fusion_leaves_the_towers_alone(name: str) -> None:
    given = streams(THREE, SHAPES["mixed"])
    outputs, _, penalty = passed(build_fusion(name, THREE, N_CLASSES), given)
    for depth, back in zip(given, outputs, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(depth, back, strict=True))
    assert penalty == 0


def test_the_others_say_how_they_become_the_identity() -> None:
    given = streams(TWO, SHAPES["clips"])
    switched_off, *_ = passed(stirred("msaf", lowest=1.0), given)
    code = build_fusion("mmtm-code", TWO, N_CLASSES)
    for parameter in code.parameters():
        torch.nn.init.zeros_(parameter)
    halved, *_ = passed(code, given)
    for depth, same, half in zip(given, switched_off, halved, strict=True):
        for x, y, z in zip(depth, same, half, strict=True):
            assert torch.equal(x, y)
            assert torch.equal(x / 2, z)


@pytest.mark.parametrize("name", sorted(set(FUSIONS) - {"late"}))  # which has no parameter
@pytest.mark.parametrize("is_training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("shapes", [SHAPES["vectors"], SHAPES["mixed"]], ids=["vectors", "mixed"])
def test_every_parameter_receives_a_gradient(
    name: str, is_training: bool, shapes: tuple[tuple[int, ...], ...]
) -> None:
    settings = {"reduction": 1} if name == "msaf" else {}  # one unit could sleep for all clips
    fusion = stirred(name, THREE, **settings).train(is_training)
    outputs, joint, penalty = passed(fusion, streams(THREE, shapes))
    loss = torch.nn.functional.cross_entropy(joint, torch.arange(4)) + penalty
    for depth in outputs:
        for weight, x in enumerate(depth, start=1):
            loss = loss + weight * x.square().mean()
    loss.backward()
    for key, parameter in fusion.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 1e-7, key


@EVERY
def test_what_comes_back_carries_what_the_other_streams_saw(name: str) -> None:
    first, *_ = streams(TWO, SHAPES["clips"])
    fusion = stirred(name)
    before = fusion(fusion.begin(), 0, first)
    after = fusion(fusion.begin(), 0, [first[0], first[1] * 3 + 1])
    transfers = name in ("early", "mmtm", "mmtm-code", "conv-gate", "conv-sum", "msaf")
    assert torch.equal(before[0], after[0]) != transfers


@EVERY
def test_the_decision_hears_every_stream(name: str) -> None:
    fusion = stirred(name)
    given = streams(TWO, SHAPES["clips"])
    _, before, _ = passed(fusion, given)
    for stream in range(2):
        shifted = [[x + (m == stream) for m, x in enumerate(depth)] for depth in given]
        assert not torch.allclose(before, passed(fusion, shifted)[1])


@EVERY
def test_permuting_streams_permutes_outputs(name: str) -> None:
    order = (2, 0, 1)
    points = tuple(FusionPoint(tuple(p.channels[m] for m in order)) for p in THREE)
    fusion, turned = stirred(name, THREE), stirred(name, points)
    turned.load_state_dict(_turned_weights(fusion, turned, order))
    given = streams(THREE, SHAPES["mixed"])
    outputs, joint, penalty = passed(fusion, given)
    crossed = passed(turned, [[depth[m] for m in order] for depth in given])
    for depth, back in zip(outputs, crossed[0], strict=True):
        for new, old in enumerate(order):
            assert torch.allclose(depth[old], back[new], atol=1e-5)
    assert torch.allclose(joint, crossed[1], atol=1e-5)
    assert torch.allclose(penalty, crossed[2], atol=1e-5)


def _turned_weights(fusion: Fusion, turned: Fusion, order: tuple[int, ...]) -> dict[str, Tensor]:
    """Weights by stream: lists take another index, maps of all streams have their columns moved."""
    blocks = {sum(p.channels): p.channels for p in fusion.points}
    weights = fusion.state_dict()
    found = {}
    for key, like in turned.state_dict().items():
        weight = weights[key]
        parts = key.split(".")
        for position in range(len(parts) - 1, 0, -1):
            owner = turned.get_submodule(".".join(parts[:position]))
            is_list = isinstance(owner, torch.nn.ModuleList | torch.nn.ParameterList)
            if is_list and len(owner) == len(order):
                parts[position] = str(order[int(parts[position])])
                weight = weights[".".join(parts)]
                break
        if weight.dim() == 2 and weight.shape[1] in blocks:
            cut = weight.split(blocks[weight.shape[1]], 1)
            weight = torch.cat([cut[m] for m in order], 1)
        assert weight.shape == like.shape, key
        found[key] = weight
    return found


@EVERY
@pytest.mark.parametrize("present", [(True, False, True), (False, True, False)])
def test_absent_streams_stay_absent(name: str, present: tuple[bool, ...]) -> None:
    outputs, joint, _ = passed(stirred(name, THREE), streams(THREE, SHAPES["mixed"]), present)
    assert [x is not None for x in outputs[-1]] == list(present)
    assert joint.shape == (4, N_CLASSES)
    if name in MEANS:
        last = [x for x in outputs[-1] if x is not None]
        expected = [x.flatten(2).mean(2)[:, :5] if x.dim() > 2 else x[:, :5] for x in last]
        assert torch.allclose(joint, torch.stack(expected).mean(0))


@EVERY
def test_one_pass_leaves_nothing_for_the_next(name: str) -> None:
    fusion = stirred(name)
    given, other = streams(TWO, SHAPES["clips"]), streams(TWO, SHAPES["sequences"])
    _, before, penalty = passed(fusion, given)
    passed(fusion, other)
    _, again, same = passed(fusion, given)
    assert torch.equal(before, again)
    assert torch.equal(penalty, same)


@EVERY
def test_what_does_not_fit_is_named(name: str) -> None:
    fusion = build_fusion(name, TWO, N_CLASSES)
    (first, second), _ = streams(TWO, SHAPES["clips"])
    with pytest.raises(ValueError, match=r"expected channels \(8, 6\), found \(6, 8\)"):
        fusion(fusion.begin(), 0, [second, first])
    with pytest.raises(ValueError, match=r"expected channels \(8, 6\), found \(8,\)"):
        fusion(fusion.begin(), 0, [first])
    with pytest.raises(ValueError, match="expected a depth below 2, found 2"):
        fusion(fusion.begin(), 2, [first, second])
    with pytest.raises(ValueError, match="expected a stream, found none"):
        fusion(fusion.begin(), 0, [None, None])
    with pytest.raises(ValueError, match=f"fusion {name}: .*unexpected keyword"):
        build_fusion(name, TWO, N_CLASSES, colour="red")


def test_names_and_depths_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*found 'magic'"):
        build_fusion("magic", TWO, N_CLASSES)
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        build_fusion("mmtm", TWO, N_CLASSES, at=(2,))
    with pytest.raises(ValueError, match="n_modules=3 of 2 depths"):
        build_fusion("mmtm", TWO, N_CLASSES, n_modules=3)
    with pytest.raises(ValueError, match="as many streams at each depth"):
        build_fusion("mmtm", [TWO[0], THREE[0]], N_CLASSES)
    with pytest.raises(ValueError, match="two or more streams"):
        FusionPoint((8,))
    with pytest.raises(ValueError, match="as many streams at each depth"):
        build_fusion("mfas", [], N_CLASSES)
    fusion = build_fusion("late", TWO, N_CLASSES)
    with pytest.raises(ValueError, match="expected the logits of a stream"):
        fusion.decide(fusion.begin(), streams(TWO, SHAPES["vectors"])[1], [None, None])


@pytest.mark.parametrize("name", ["se", "mmtm", "mmtm-code", "conv-gate", "conv-sum", "msaf"])
def test_n_modules_fuses_the_last_depths_only(name: str) -> None:
    points = (*TWO, FusionPoint((14, 9)))
    given = streams(points, SHAPES["clips"])
    outputs, *_ = passed(stirred(name, points, n_modules=2), given)
    touched = [not torch.equal(x[0], y[0]) for x, y in zip(given, outputs, strict=True)]
    assert touched == [False, True, True]
    late, *_ = passed(stirred(name, points, n_modules=0), given)
    assert all(torch.equal(x[0], y[0]) for x, y in zip(given, late, strict=True))
