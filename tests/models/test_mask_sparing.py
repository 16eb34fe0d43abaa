"""A mask that takes next to nothing away takes nothing away."""

import pytest
import torch

from models.avse_config import AvseConfig
from models.mask_sparing import softened, spared

LEVELS_DB = (24.0, 32.0)


def loud_and_quiet(quiet_db: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A mask that keeps one bin and takes another, so far below, away; and the magnitudes."""
    magnitude = torch.tensor([[[1.0, 10 ** (-quiet_db / 20)]]])
    return torch.tensor([[[1.0, 0.0]]]), magnitude


@pytest.mark.parametrize(("quiet_db", "share"), [(20, 0), (24, 0), (26, 0.25), (32, 1), (60, 1)])
def test_the_mask_opens_with_the_level_of_what_is_kept(quiet_db: float, share: float) -> None:
    mask, magnitude = loud_and_quiet(quiet_db)
    found = spared(mask, magnitude, LEVELS_DB)
    torch.testing.assert_close(found, torch.tensor([[[1.0, share]]]), rtol=1e-3, atol=1e-3)


def test_a_power_takes_less_away_and_can_be_learned_through_nothing() -> None:
    mask = torch.tensor([0.0, 0.25, 1.0], requires_grad=True)
    found = softened(mask, 0.5)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 1.0]), rtol=0, atol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), mask)
    assert gradient.isfinite().all()


def test_each_window_stands_for_itself() -> None:
    masks, magnitudes = zip(*(loud_and_quiet(db) for db in (10, 50)), strict=True)
    found = spared(torch.cat(masks), torch.cat(magnitudes), LEVELS_DB)
    torch.testing.assert_close(found[:, 0, 1], torch.tensor([0.0, 1.0]))


def test_a_silent_target_stays_silent() -> None:
    magnitude = torch.ones(1, 4, 5)
    shut = torch.zeros_like(magnitude)
    assert torch.equal(spared(shut, magnitude, LEVELS_DB), shut)
    assert torch.equal(spared(shut, 0 * magnitude, LEVELS_DB), shut)


def test_the_levels_rise() -> None:
    with pytest.raises(ValueError, match="spares_db: expected two rising levels, found"):
        AvseConfig(spares_db=(30.0, 20.0))
