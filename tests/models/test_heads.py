"""Gesture and action heads: any subset of streams, cached stems, shared stages, sizes."""

from typing import Any

import pytest
import torch
from torch import nn

from models.action import ActionConfig, ActionHead
from models.gesture import GestureConfig, GestureHead
from models.head_output import HeadOutput
from models.i3d import STAGES
from models.registry import build
from models.video_towers import STREAM_CHANNELS

GESTURE: dict[str, Any] = {"n_classes": 3, "width": 0.1, "dropout": 0.0}
ACTION: dict[str, Any] = {
    "n_classes": 3, "width": 0.1, "skeleton_width": 0.25, "n_joints": 5, "n_skeleton_frames": 16,
    "dropout": 0.0, "skeleton_dropout": 0.0,
}  # fmt: skip


def pictures(*names: str, n_batch: int = 2) -> dict[str, torch.Tensor]:
    return {name: torch.randn(n_batch, STREAM_CHANNELS[name], 8, 40, 40) for name in names}


def bones(n_people: int = 1) -> torch.Tensor:
    return torch.randn(2, 3, 16, 5, n_people)


def gesture(**settings: Any) -> GestureHead:
    return GestureHead(GestureConfig(**(GESTURE | settings))).eval()


def action(**settings: Any) -> ActionHead:
    return ActionHead(ActionConfig(**(ACTION | settings))).eval()


def assert_same(one: HeadOutput, other: HeadOutput) -> None:
    torch.testing.assert_close(one.joint, other.joint)
    assert one.logits.keys() == other.logits.keys()


def test_any_subset_of_streams_is_answered() -> None:
    head = gesture(streams=("rgb", "depth", "flow"))
    for names in (("rgb",), ("flow", "depth"), ("rgb", "depth", "flow")):
        found = head(pictures(*names))
        assert set(found.logits) == set(names)
        assert found.joint.shape == (2, 3)
        torch.testing.assert_close(found.joint, torch.stack(list(found.logits.values())).mean(0))


def test_action_takes_pictures_bones_or_both_and_two_persons() -> None:
    head = action()
    depth = pictures("depth")
    for streams in ({"skeleton": bones()}, depth, depth | {"skeleton": bones(2)}):
        found = head(streams)
        assert set(found.logits) == set(streams)
        assert found.joint.shape == (2, 3)


def test_fresh_transfer_modules_change_nothing() -> None:
    head = gesture()
    clip = pictures("depth", "flow")
    fused = head(clip)
    for name in clip:
        torch.testing.assert_close(fused.logits[name], head({name: clip[name]}).logits[name])
    assert fused.penalty == 0


@pytest.mark.parametrize("after", ["2c", "4b", "4e"])
def test_gestures_from_cached_features_are_the_same(after: str) -> None:
    head = gesture(fuses_at=("4e", "4f", "5b", "5c"))
    disturb(head)
    clip = pictures("depth", "flow")
    cached = {name: head.stem(name, x, after) for name, x in clip.items()}
    assert_same(head(cached, after=after), head(clip))


def test_actions_from_cached_features_are_the_same() -> None:
    head = action()
    disturb(head)
    clip = pictures("depth") | {"skeleton": bones()}
    cached = clip | {"depth": head.stem("depth", clip["depth"], "4e")}
    assert_same(head(cached, after="4e"), head(clip))


def test_features_from_behind_a_fusion_are_refused_unless_it_is_off() -> None:
    clip = pictures("depth", "flow")
    head = gesture()
    cached = {name: head.stem(name, x, "4e") for name, x in clip.items()}
    with pytest.raises(ValueError, match="after 4c"):
        head(cached, after="4e")
    few = gesture(fusion_settings={"n_modules": 3})
    cached = {name: few.stem(name, x, "4e") for name, x in clip.items()}
    assert_same(few(cached, after="4e"), few(clip))
    late = action(fusion="late")
    cached = {"depth": late.stem("depth", clip["depth"], "5b")}
    with pytest.raises(ValueError, match="after 4f"):
        late(cached, after="5b")


def test_streams_may_share_their_lower_stages() -> None:
    apart, shared = gesture(), gesture(shares_to="4e")
    stages = [*STAGES[1 : STAGES.index("4e") + 1]]
    assert list(shared.video.shared) == stages
    n_saved = sum(p.numel() for s in stages for p in apart.video.stage("flow", s).parameters())
    assert n_parameters(apart) - n_parameters(shared) == n_saved
    assert shared(pictures("depth", "flow")).joint.shape == (2, 3)
    assert len(shared.state_dict()) == len({t.data_ptr() for t in shared.state_dict().values()})


def test_a_frozen_stem_learns_nothing() -> None:
    head = gesture(shares_to="4c")
    head.video.freeze("4e")
    before = {name: t.clone() for name, t in head.state_dict().items()}
    head.train()
    optimiser = torch.optim.SGD([p for p in head.parameters() if p.requires_grad], 0.1)
    head(pictures("depth", "flow")).joint.square().sum().backward()
    optimiser.step()
    changed = {name for name, t in head.state_dict().items() if not torch.equal(t, before[name])}
    assert any(".4f." in name for name in changed)
    frozen = [f".{stage}." for stage in STAGES[: STAGES.index("4e") + 1]]
    assert not [name for name in changed if any(stage in name for stage in frozen)]


@pytest.mark.parametrize("head", [gesture(), action()], ids=["gesture", "action"])
def test_every_parameter_gets_a_gradient(head: nn.Module) -> None:
    disturb(head)
    head.train()
    clip = pictures("depth") | (
        {"skeleton": bones()} if isinstance(head, ActionHead) else pictures("flow")
    )
    found = head(clip)
    (found.joint.square().sum() + found.penalty).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_transfer_modules_have_the_papers_size() -> None:
    with torch.device("meta"):
        two = GestureHead(GestureConfig())
        three = GestureHead(GestureConfig(streams=("rgb", "depth", "flow")))
        bones_too = ActionHead(ActionConfig())
    assert n_parameters(two.fusion) == pytest.approx(6.48e6, abs=5e3)
    assert n_parameters(three.fusion) == pytest.approx(14.58e6, abs=5e3)
    assert n_parameters(bones_too.fusion) == pytest.approx(2.24e6, abs=5e3)


def test_one_stream_needs_no_fusion() -> None:
    head = gesture(streams=("flow",))
    assert head.fusion is None
    found = head(pictures("flow"))
    assert torch.equal(found.joint, found.logits["flow"])


def test_wrong_streams_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="expected streams"):
        gesture()(pictures("rgb"))
    with pytest.raises(ValueError, match="expected streams"):
        action()({})
    with pytest.raises(ValueError, match="expected one of"):
        gesture(streams=("infrared",))
    with pytest.raises(ValueError, match="ends with 5c"):
        GestureConfig(fuses_at=("5c", "4f"))
    with pytest.raises(ValueError, match="ends with 5c"):
        ActionConfig(fuses_at=(("5b", "conv6"),))
    with pytest.raises(ValueError, match="picture stream"):
        ActionConfig(video=())
    with pytest.raises(ValueError, match="expected a stream"):
        GestureConfig(streams=())


def test_the_registry_builds_them_from_json() -> None:
    assert isinstance(build("gesture", GESTURE | {"streams": ["depth", "flow"]}), GestureHead)
    pairs = [["5b", "conv6"], ["5c", "fc7"]]
    assert isinstance(build("action", ACTION | {"fuses_at": pairs}), ActionHead)


def n_parameters(module: nn.Module | None) -> int:
    assert module is not None
    return sum(p.numel() for p in module.parameters())


def disturb(head: nn.Module) -> None:
    """Excitations that are not zero, so that the fusion does something."""
    assert isinstance(head, GestureHead | ActionHead)
    assert head.fusion is not None
    generator = torch.Generator().manual_seed(0)
    for parameter in head.fusion.parameters():
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
