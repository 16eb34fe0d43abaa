"""The voice's own phase: what its network may go by, and where it leaves the mask alone."""

import pytest
import torch
from torch import Tensor

from avse.training.losses import negative_snr
from models.bin_refiner import BinRefiner
from models.phase_refiner import PhaseRefiner, beside
from preprocessing.spectral import istft, stft

N_BINS = 16


def refiner(*, is_fresh: bool = False) -> PhaseRefiner:
    torch.manual_seed(0)
    net = PhaseRefiner(N_BINS, 8, (1, 2)).eval()
    if not is_fresh:
        torch.nn.init.normal_(net.out_of.weight, std=0.3)
    return net


def mixture(n_samples: int = 6400) -> tuple[Tensor, Tensor, Tensor]:
    """Mask, spectrum and features of noise."""
    generator = torch.Generator().manual_seed(1)
    spectrum = stft(0.1 * torch.randn(2, n_samples, generator=generator))
    mask = torch.rand(spectrum.shape, generator=generator)
    return mask, spectrum, features_of(spectrum, generator)


def features_of(spectrum: Tensor, generator: torch.Generator | None = None) -> Tensor:
    n_batch, n_frames, _ = spectrum.shape
    shape = (n_batch, BinRefiner.N_FEATURES, n_frames, 81)
    return torch.zeros(shape) if generator is None else torch.randn(shape, generator=generator)


def tone(hz: float, n_samples: int = 6400, start: int = 0) -> Tensor:
    return torch.cos(2 * torch.pi * hz * (torch.arange(n_samples) + start) / 16_000)[None]


@torch.no_grad()
def test_a_fresh_one_leaves_the_mask_and_a_trained_one_the_higher_bins() -> None:
    mask, *given = mixture()
    assert torch.equal(refiner(is_fresh=True)(mask, *given), mask.to(torch.complex64))
    found = refiner()(mask, *given)
    assert found.shape == mask.shape
    assert torch.equal(found[..., N_BINS:], mask[..., N_BINS:].to(torch.complex64))
    assert (found[..., :N_BINS].imag.abs() > 0.01).float().mean() > 0.5


@torch.no_grad()
def test_nothing_is_added_where_nothing_is_taken_away() -> None:
    mask, *given = mixture()
    mask[:, ::2] = 1
    found = refiner()(mask, *given)
    assert torch.equal(found[:, ::2], torch.ones_like(found[:, ::2]))


@torch.no_grad()
def test_the_features_behind_the_mask_count_in_their_own_bins() -> None:
    mask, spectrum, features = mixture()
    other = features.clone()
    other[..., N_BINS // BinRefiner.FOLD :] += 1
    found, same = (refiner()(mask, spectrum, x) for x in (features, other))
    assert torch.equal(found, same)
    other[..., 0] += 1
    assert not torch.equal(found, refiner()(mask, spectrum, other))


@torch.no_grad()
@pytest.mark.parametrize("factor", [0.1, 30.0, 1j, -1.0])
def test_neither_level_nor_phase_of_the_whole_counts(factor: complex) -> None:
    mask, spectrum, features = mixture()
    found, other = (refiner()(mask, x, features) for x in (spectrum, factor * spectrum))
    torch.testing.assert_close(found, other, atol=2e-3, rtol=0)


@torch.no_grad()
def test_it_does_not_count_when_the_sound_began() -> None:
    generator = torch.Generator().manual_seed(1)
    sound = torch.randn(1, 9600, generator=generator)
    mask = torch.rand(1, 60, 321, generator=generator)
    whole, later = stft(sound), stft(sound[:, 160:])
    found = refiner()(mask, whole, features_of(whole))
    shifted = refiner()(mask.roll(-1, 1), later, features_of(later))
    inner = slice(12, 40)
    torch.testing.assert_close(found[:, 1:][:, inner], shifted[:, inner], atol=0.02, rtol=0)


@pytest.mark.parametrize("hz", [150.0, 175.0])
def test_all_points_of_a_steady_tone_in_the_middle_of_a_bin_have_one_phase(hz: float) -> None:
    spectrum = stft(tone(hz))[:, 4:-4]
    at = round(hz / 25)
    around = beside(spectrum[..., : N_BINS + 1])[:, 0, 2:-2, at]
    turned = around / around.abs() * (spectrum[0, 2:-2, at] / spectrum[0, 2:-2, at].abs()).conj()
    torch.testing.assert_close(turned, torch.ones_like(turned), atol=1e-2, rtol=0)


def test_it_learns_what_no_ratio_mask_can_say() -> None:
    torch.manual_seed(0)
    wanted = tone(200) * torch.linspace(0.2, 1, 6400)
    noisy = wanted + tone(212)
    spectrum = stft(noisy)
    best = (stft(wanted) / spectrum).real.clamp(0, 1)
    net, features = PhaseRefiner(N_BINS, 16, (1, 2)), features_of(spectrum)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)

    def lost_db() -> Tensor:
        return negative_snr(istft(net(best, spectrum, features) * spectrum, 6400), wanted).mean()

    before = float(lost_db().detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = lost_db()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < before - 3


def test_bins_must_fold() -> None:
    with pytest.raises(ValueError, match="expected a multiple of 4, found 18"):
        PhaseRefiner(18, 8, (1,))
