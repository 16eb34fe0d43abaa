import pytest
import torch
from torch import Tensor

from models.mouth_prior import MouthPrior, MouthPriorConfig
from models.registry import build

CONFIG = MouthPriorConfig(n_features=9, n_priors=5, widths=(4, 4, 4, 4), n_hidden=6)


def make_prior() -> MouthPrior:
    torch.manual_seed(0)
    prior = MouthPrior(CONFIG)
    prior.learn_priors(torch.randn(9), torch.randn(5, 9))
    return prior.eval()


def inputs(n_frames: int = 6) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(1)
    log_mel = torch.randn(2, 4 * n_frames, 80, generator=generator)
    return log_mel, [torch.randn(2, n_frames, n, generator=generator) for n in (4, 5)]


def test_visible_frames_stay_and_hidden_ones_have_no_effect() -> None:
    prior, (log_mel, visual) = make_prior(), inputs()
    is_visible = torch.tensor([[True] * 3 + [False] * 3, [False] * 6])
    filled = prior.fill(log_mel, visual, is_visible)
    assert [x.shape for x in filled] == [x.shape for x in visual]
    for before, after in zip(visual, filled, strict=True):
        assert torch.equal(before[is_visible], after[is_visible])
    other = [torch.where(is_visible[..., None], x, 100.0) for x in visual]
    for one, two in zip(filled, prior.fill(log_mel, other, is_visible), strict=True):
        torch.testing.assert_close(one, two)


def test_a_visible_mouth_is_left_alone_whatever_is_heard() -> None:
    prior, (log_mel, visual) = make_prior(), inputs()
    filled = prior.fill(log_mel, visual, torch.ones(2, 6, dtype=torch.bool))
    assert all(torch.equal(a, b) for a, b in zip(visual, filled, strict=True))


def test_the_mean_is_the_window_s_own_where_there_is_one() -> None:
    prior, (log_mel, visual) = make_prior(), inputs()
    is_visible = torch.tensor([[True, True, False, False, False, False], [False] * 6])
    filled = torch.cat(prior.fill(log_mel, visual, is_visible), 2)
    movement = prior(log_mel)
    own = torch.cat(visual, 2)[0, :2].mean(0)
    torch.testing.assert_close(filled[0, 2:] - movement[0, 2:], own.expand(4, -1))
    torch.testing.assert_close(filled[1] - movement[1], prior.mean.expand(6, -1))


def test_movements_stay_inside_the_hull_and_follow_the_sound() -> None:
    prior, (log_mel, _) = make_prior(), inputs()
    torch.nn.init.normal_(prior.weigh.weights.mean.weight, std=3.0)
    movement = prior(log_mel)
    assert movement.shape == (2, 6, 9)
    low, high = prior.weigh.priors.amin(0), prior.weigh.priors.amax(0)
    assert ((movement >= low - 1e-5) & (movement <= high + 1e-5)).all()
    assert not torch.allclose(movement, prior(log_mel.flip(1)))


def test_every_parameter_gets_a_gradient() -> None:
    prior, (log_mel, visual) = make_prior().train(), inputs()
    torch.nn.init.normal_(prior.weigh.weights.mean.weight)
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    filled = prior.fill(log_mel, visual, hidden, torch.Generator().manual_seed(0))
    torch.autograd.backward(torch.cat(filled, 2).square().sum())
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_sizes_that_do_not_fit_are_refused() -> None:
    prior, (log_mel, visual) = make_prior(), inputs()
    with pytest.raises(ValueError, match="9 features, found 4"):
        prior.fill(log_mel, visual[:1], torch.ones(2, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="expected sizes"):
        prior.learn_priors(torch.zeros(9), torch.zeros(4, 9))


def test_it_travels_as_a_bundle_does() -> None:
    prior = make_prior()
    other = build("mouth_prior", {"n_features": 9, "n_priors": 5, "widths": [4, 4, 4, 4],
                                  "n_hidden": 6})  # fmt: skip
    other.load_state_dict(prior.state_dict())
    log_mel, _ = inputs()
    assert torch.equal(other.eval()(log_mel), prior(log_mel))
