"""Lips compared with both halves of a mixture, with towers whose answers are known."""

import pytest
import torch

from models.agreement import LAGS, LEAST_FRAMES, Agreement, doubt
from models.lip_sync import LipSyncConfig
from models.mel_bands import bins_to_mel
from models.visual_tower import VisualTowerConfig
from preprocessing.spectral import log_mel

N_FRAMES, N_EMBEDDING = 10, 6
CONFIG = LipSyncConfig(VisualTowerConfig(widths=(4, 6, 8, 10)), N_EMBEDDING, 80, (4, 6, 8, 10))


def made() -> tuple[Agreement, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    module = Agreement(CONFIG, 321, 16_000).eval()
    return module, torch.rand(2, 4 * N_FRAMES, 321), torch.rand(2, 4 * N_FRAMES, 321)


def sound_embedding(module: Agreement, magnitude: torch.Tensor) -> torch.Tensor:
    heard = module.head(module.tower(log_mel(magnitude)))
    return torch.nn.functional.normalize(heard, dim=2)


def test_bands_are_those_of_the_spectra() -> None:
    magnitude = torch.rand(1, 4, 321)
    bands = torch.log(magnitude @ bins_to_mel(80, 321, 16_000) + 1e-4)
    torch.testing.assert_close(bands, log_mel(magnitude), rtol=1e-3, atol=2e-3)


def test_lips_that_move_with_one_half_agree_with_it_alone_and_at_the_right_lag() -> None:
    module, mask, magnitude = made()
    kept = (mask > 0.5).float()
    gain = (magnitude.square().sum((1, 2)) / (kept * magnitude).square().sum((1, 2))).sqrt()
    lips = sound_embedding(module, kept * magnitude * gain[:, None, None]).detach()
    shown = torch.ones(2, N_FRAMES, dtype=torch.bool)
    _, evidence = module(kept, magnitude, lips, shown)
    halves = evidence.reshape(2, 2, N_EMBEDDING + len(LAGS), N_FRAMES)
    cosines = halves[:, :, N_EMBEDDING:].mean(3)
    torch.testing.assert_close(cosines[:, 0, LAGS.index(0)], torch.ones(2), rtol=1e-3, atol=1e-3)
    assert (cosines[:, 1, LAGS.index(0)] < 0.999).all()
    late = torch.roll(lips, 1, 1)
    _, evidence = module(kept, magnitude, late, shown)
    inside = evidence.reshape(2, 2, -1, N_FRAMES)[:, 0, N_EMBEDDING:, 1:]
    torch.testing.assert_close(
        inside[:, LAGS.index(1)], torch.ones(2, N_FRAMES - 1), rtol=1e-3, atol=1e-3
    )


def test_without_lips_there_is_no_evidence_and_silence_stays_silence() -> None:
    module, mask, magnitude = made()
    lips = torch.nn.functional.normalize(torch.randn(2, N_FRAMES, N_EMBEDDING), dim=2)
    shown = torch.zeros(2, N_FRAMES, dtype=torch.bool)
    sounds, evidence = module(mask, magnitude, lips, shown)
    assert not evidence.any()
    assert sounds.shape == (2, 2, 4 * N_FRAMES, 80)
    silent, evidence = module(torch.zeros_like(mask), magnitude, lips, ~shown)
    assert (silent[:, 0] < -1.2).all()
    assert evidence.isfinite().all()
    assert evidence.shape == (2, module.n_evidence, N_FRAMES)


def doubted(
    agreement: tuple[float, float], kept_share: float, n_shown: int = 50, lag: int = 0
) -> float:
    """Doubt of one mask over 50 pictures: agreement of both halves, share of energy kept."""
    evidence = torch.zeros(1, 2, N_EMBEDDING + len(LAGS), 50)
    for half, value in enumerate(agreement):
        evidence[0, half, N_EMBEDDING + LAGS.index(lag), :n_shown] = value
    magnitude = torch.ones(1, 200, 321)
    n_kept = round(kept_share * 200)
    kept = magnitude.clone()
    kept[:, n_kept:] = 0
    shown = torch.arange(50)[None] < n_shown
    return doubt(evidence.flatten(1, 2), kept, magnitude, shown, (0.05, 0.15)).item()


def test_a_mask_is_doubted_where_what_it_takes_away_agrees_as_well_with_the_lips() -> None:
    assert doubted((0.5, 0.3), 0.5) == 0
    assert doubted((0.3, 0.5), 0.5) == 1
    assert doubted((0.4, 0.4), 0.5, lag=2) == 1
    assert doubted((0.4, 0.3), 0.5) == pytest.approx(0.5, abs=1e-5)
    assert doubted((0.0, -0.2), 0.5) == 1


def test_neither_a_silence_nor_a_mask_that_takes_little_nor_a_glimpse_is_doubted() -> None:
    assert doubted((0.3, 0.5), 0.01) == 0
    assert doubted((0.3, 0.5), 0.95) == 0
    assert doubted((0.3, 0.5), 0.5, n_shown=LEAST_FRAMES - 1) == 0
    assert doubted((0.3, 0.5), 0.5, n_shown=LEAST_FRAMES) == 1
