"""How late lips are behind a sound, and their features in step with it."""

from dataclasses import replace

import pytest
import torch

from models.agreement import LAGS
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.lip_timing import MOST_FRAMES, in_step, lateness
from models.visual_tower import VisualTowerConfig


def agreement(late: float, n_frames: int = 60, height: float = 0.4) -> torch.Tensor:
    """Cosines `[1, V, K]` that fall evenly to both sides of a peak."""
    lags = torch.tensor(LAGS, dtype=torch.float32)
    return (height * (1 - (lags - late).abs() / 3)).expand(1, n_frames, -1)


@pytest.mark.parametrize("late", [-1.0, -0.5, 0.0, 0.25, 1.0])
def test_lateness_is_near_the_peak_and_less_sure_in_a_short_clip(late: float) -> None:
    found, short, unseen = (float(lateness(agreement(late, n), LAGS)[0]) for n in (60, 4, 0))
    assert found == pytest.approx(late, abs=0.25)
    assert abs(short) <= abs(found) + 0.05
    assert unseen == pytest.approx(0, abs=1e-6)
    assert abs(found) <= MOST_FRAMES


def test_every_clip_of_a_batch_has_its_own_lateness() -> None:
    pair = torch.cat([agreement(-1), agreement(0.5)])
    alone = [float(lateness(one[None], LAGS)) for one in pair]
    assert lateness(pair, LAGS).tolist() == pytest.approx(alone)


def test_part_of_a_frame_mixes_the_features_of_visible_neighbours() -> None:
    features = (torch.arange(6.0)[:, None] * torch.tensor([1.0, 10.0]))[None]
    shown = torch.tensor([[True, True, True, False, True, True]])

    def moved(late: float) -> torch.Tensor:
        return in_step(features, shown, torch.tensor([late]))[0]

    assert torch.equal(moved(0.0), features[0])
    assert moved(0.25)[:, 0].tolist() == [0.25, 1.25, 2, 3, 4.25, 5]
    assert moved(-0.5)[:, 1].tolist() == [0, 5, 15, 30, 40, 45]
    assert moved(1.0)[:, 0].tolist() == [1, 2, 2, 3, 5, 5]


def test_a_network_puts_its_lips_in_time_only_if_asked_to() -> None:
    torch.manual_seed(0)
    tiny = VisualTowerConfig(widths=(4, 6, 8, 10), input_px=32)
    config = AvseConfig(
        visual=tiny, encoder_widths=(4, 6, 8, 10), n_bottleneck=12, n_lip_embedding=16,
        audio_widths=(4, 6, 8, 10), listens_again=True,
    )  # fmt: skip
    net = AvseNet(config).eval()
    for layer in (net.hint, net.evidence):  # as if it had learned to listen again
        torch.nn.init.normal_(layer.weight, std=0.3)
    crops = torch.randint(0, 256, (2, 20, 48, 48), dtype=torch.uint8)
    log_mel, magnitude = torch.randn(2, 80, 80), torch.rand(2, 80, 321)
    shown = torch.ones(2, 20, dtype=torch.bool)
    with torch.no_grad():
        visual = net.encode_visual(crops)
        plain = net.mask(log_mel, magnitude, visual, shown)
        net.config = replace(config, retimes_lips=1)
        once = net.mask(log_mel, magnitude, visual, shown)
        hidden = net.mask(log_mel, magnitude, visual, ~shown)
        net.agreement.lateness = lambda *_: torch.zeros(2)  # type: ignore[method-assign]
        in_time = net.mask(log_mel, magnitude, visual, shown)
        net.config = config
        unasked = net.mask(log_mel, magnitude, visual, ~shown)
    assert not torch.allclose(once, plain, atol=1e-5)
    torch.testing.assert_close(in_time, plain)
    torch.testing.assert_close(hidden, unasked)


def test_lips_are_retimed_for_a_second_time_only() -> None:
    with pytest.raises(ValueError, match="retimes_lips: expected 0, or more with listens_again"):
        AvseConfig(retimes_lips=1)
    with pytest.raises(ValueError, match="retimes_lips"):
        AvseConfig(listens_again=True, retimes_lips=-1)
