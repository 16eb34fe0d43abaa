"""Fusions between real towers: a swap keeps the towers, what is gated is what is used."""

import pytest
import torch
from torch import Tensor

from models.action import ActionConfig, ActionHead
from models.fusion import FUSIONS
from models.gesture import GestureConfig, GestureHead
from models.head_output import HeadOutput

EVERY = pytest.mark.parametrize("name", sorted(FUSIONS))
GATES = ("early", "mmtm", "mmtm-code", "conv-gate", "conv-sum", "msaf")
CHANGE_NOTHING = sorted(set(FUSIONS) - {"mmtm-code", "msaf"})


def gesture(name: str) -> GestureHead:
    torch.manual_seed(0)
    config = GestureConfig(n_classes=4, fusion=name, width=0.1, fuses_at=("4f", "5b", "5c"))
    return GestureHead(config).eval()


def action(name: str) -> ActionHead:
    torch.manual_seed(0)
    config = ActionConfig(n_classes=4, fusion=name, width=0.1, skeleton_width=0.1, n_joints=5)
    return ActionHead(config).eval()


def clips(seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "depth": torch.randn((2, 1, 8, 16, 16), generator=generator),
        "flow": torch.randn((2, 2, 8, 16, 16), generator=generator),
        "skeleton": torch.randn((2, 3, 32, 5, 1), generator=generator),
    }


def heard(head: GestureHead | ActionHead, clip: dict[str, Tensor]) -> HeadOutput:
    with torch.inference_mode():
        return head({name: clip[name] for name in head.config.streams})


@pytest.mark.parametrize(
    ("name", "build"), [*((name, action) for name in sorted(FUSIONS)), ("mmtm", gesture)]
)
def test_a_swap_of_one_word_keeps_every_weight_of_the_towers(name: str, build: object) -> None:
    assert callable(build)
    late, head = build("late"), build(name)
    for parameter in late.parameters():  # as if trained
        torch.nn.init.normal_(parameter, std=0.1)
    missing, unexpected = head.load_state_dict(late.state_dict(), strict=False)
    assert unexpected == []
    assert all(key.startswith("fusion.") for key in missing)
    towers = {k: v for k, v in head.state_dict().items() if not k.startswith("fusion.")}
    assert set(towers) == set(late.state_dict())
    assert all(torch.equal(towers[key], value) for key, value in late.state_dict().items())
    if name in CHANGE_NOTHING:
        alone, together = heard(late, clips()), heard(head, clips())
        for stream, logits in alone.logits.items():
            assert torch.allclose(logits, together.logits[stream], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "build"), [*((name, action) for name in GATES), ("mmtm", gesture)]
)
def test_the_maps_that_were_fused_are_the_ones_used(name: str, build: object) -> None:
    assert callable(build)
    head = build(name)
    for parameter in head.fusion.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    clip, other = clips(), clips(2)
    first, second = head.config.streams
    before = heard(head, clip)
    for changed, kept in ((first, second), (second, first)):
        after = heard(head, {**clip, changed: other[changed] * 3})
        # a stream's own classifier hears the other stream: through its gated maps, or not at all
        assert not torch.allclose(before.logits[kept], after.logits[kept], atol=1e-7)


@pytest.mark.parametrize("depth", range(3))
def test_each_depth_of_the_fusion_is_used(depth: int) -> None:
    head = action("mmtm")
    before = heard(head, clips())
    for parameter in head.fusion.transfers[str(depth)].parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    after = heard(head, clips())
    for stream in head.config.streams:
        assert not torch.allclose(before.logits[stream], after.logits[stream], atol=1e-7)


@EVERY
def test_a_step_of_training_moves_the_fusion_and_both_towers(name: str) -> None:
    head = action(name).train()
    for key, parameter in head.fusion.named_parameters():
        if key.endswith("weight") and parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.1)
    clip = clips()
    output = head({stream: clip[stream] for stream in head.config.streams})
    loss = torch.nn.functional.cross_entropy(output.joint, torch.tensor([0, 1]))
    (loss + output.penalty).backward()
    for tower in (head.video, head.skeleton, head.fusion):
        moved = [p.grad is not None and p.grad.abs().sum() > 0 for p in tower.parameters()]
        assert any(moved) or not moved
