import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.smil import Gaussian, PriorWeights, Smil, SmilConfig, cluster_centres

N_FIRST, N_SECOND, N_CLASSES = 5, 7, 4


def make_smil(**settings: object) -> Smil:
    torch.manual_seed(0)
    config = SmilConfig(n_priors=3, **settings)  # type: ignore[arg-type]
    head = nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, N_CLASSES))
    priors = torch.randn(3, N_SECOND)
    return Smil(nn.Linear(8, N_FIRST), nn.Linear(9, N_SECOND), head, priors, config)


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 8, generator=generator), torch.randn(6, 9, generator=generator)


def test_with_both_streams_it_is_the_plain_network() -> None:
    smil, (first, second) = make_smil(), inputs()
    seen, heard = smil.present(first), smil.missing(second)
    plain = smil.head(torch.cat([seen, heard], 1))
    assert torch.equal(smil(first, second).logits, plain)
    assert torch.equal(smil(first, second).second, heard)


def test_a_fresh_wrapper_puts_the_mean_of_the_priors_and_changes_nothing_else() -> None:
    smil, (first, _) = make_smil(), inputs()
    mean = smil.fill.priors.mean(0).expand(6, -1)
    out = smil(first, None)
    torch.testing.assert_close(out.second, mean)
    torch.testing.assert_close(out.logits, smil.head(torch.cat([smil.present(first), mean], 1)))


def test_reconstruction_stays_inside_the_hull_of_the_priors() -> None:
    smil, (first, _) = make_smil(), inputs()
    nn.init.normal_(smil.fill.weights.mean.weight, std=5.0)
    mixing, _ = smil.fill.mixing(smil.present(first), torch.Generator().manual_seed(0))
    assert (mixing >= 0).all()
    torch.testing.assert_close(mixing.sum(1), torch.ones(6))


def test_unit_weights_give_one_reconstruction_for_every_input() -> None:
    smil, (first, _) = make_smil(weights="unit"), inputs()
    nn.init.normal_(smil.fill.weights.log_deviation.weight)
    out = smil(first, None)
    torch.testing.assert_close(out.second, smil.fill.priors.mean(0).expand(6, -1))
    drawn = smil(first, None, torch.Generator().manual_seed(0)).second
    assert (drawn - out.second).abs().min() > 0


@pytest.mark.parametrize("regularises", ["missing", "never"])
def test_every_parameter_gets_a_gradient(regularises: str) -> None:
    smil, (first, second) = make_smil(regularises=regularises), inputs()
    filled, both = smil(first, None, torch.Generator().manual_seed(0)), smil(first, second)
    loss = filled.logits.square().sum() + both.logits.square().sum() + filled.divergence
    torch.autograd.backward(loss)
    for name, parameter in smil.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_generator_decides_the_noise() -> None:
    smil, (first, _) = make_smil(), inputs()
    one, same, other = (
        smil(first, None, torch.Generator().manual_seed(seed)).logits for seed in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_divergence_is_zero_at_the_start_and_then_positive() -> None:
    gaussian, features = Gaussian(4, 3, 0.5, 0.1), torch.randn(5, 4)
    generator = torch.Generator().manual_seed(0)
    assert gaussian(features, generator)[1].item() == pytest.approx(0, abs=1e-5)
    nn.init.normal_(gaussian.mean.weight)
    nn.init.normal_(gaussian.log_deviation.weight, std=0.1)
    mine = torch.distributions.Normal(
        gaussian.mean(features), gaussian.log_deviation(features).exp()
    )
    wanted = torch.distributions.kl_divergence(mine, torch.distributions.Normal(0.5, 0.1))
    torch.testing.assert_close(gaussian(features, generator)[1], wanted.mean())
    assert gaussian(features, None)[1] is None


def test_regularisers_follow_the_head() -> None:
    widths = [(g.mean.in_features, g.mean.out_features) for g in make_smil().regularisers]
    assert widths == [(N_FIRST, 12), (12, 6)]
    assert not make_smil(regularises="never").regularisers


def test_the_backbone_is_present_tower_and_head() -> None:
    smil = make_smil()
    smil.head[2].requires_grad_(False)
    assert {name.split(".")[0] for name in smil.backbone()} == {"present", "head"}
    assert "head.2.weight" not in set(smil.backbone())


def test_what_does_not_fit_is_refused() -> None:
    smil = make_smil()
    parts = (smil.present, smil.missing)
    with pytest.raises(ValueError, match="linear layer"):
        Smil(*parts, nn.Sequential(nn.ReLU()), torch.randn(3, 7), SmilConfig(3))
    with pytest.raises(ValueError, match="expected 4 priors"):
        Smil(*parts, smil.head, torch.randn(3, 7), SmilConfig(4))
    with pytest.raises(ValueError, match="unit"):
        SmilConfig(weights="other")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prior"):
        SmilConfig(n_priors=0)
    with pytest.raises(ValueError, match="regularises"):
        SmilConfig(regularises="at times")  # type: ignore[arg-type]


def test_centres_of_well_apart_clusters_are_their_means() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = middles.repeat_interleave(20, 0) + 0.1 * torch.randn(60, 2, generator=generator)
    centres = cluster_centres(features, 3, generator)
    nearest = torch.cdist(middles, centres).argmin(1)
    assert sorted(nearest.tolist()) == [0, 1, 2]
    wanted = features.unflatten(0, (3, 20)).mean(1)
    torch.testing.assert_close(centres[nearest], wanted)


def test_as_many_clusters_as_features_are_the_features() -> None:
    features = torch.arange(4.0)[:, None]
    centres = cluster_centres(features, 4, torch.Generator().manual_seed(0))
    assert sorted(centres.flatten().tolist()) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="expected 5"):
        cluster_centres(features, 5, torch.Generator())


def test_priors_travel_with_the_weights() -> None:
    smil, other = make_smil(), make_smil()
    other.fill.priors.zero_()
    other.load_state_dict(smil.state_dict())
    assert torch.equal(other.fill.priors, smil.fill.priors)


def test_weights_of_the_right_prior_are_learned() -> None:
    """Where the first stream says which cluster it is, the reconstruction becomes its centre."""
    generator = torch.Generator().manual_seed(0)
    priors = torch.eye(3)
    fill = PriorWeights(3, priors, SmilConfig(n_priors=3))
    which = torch.randint(3, (64,), generator=generator)
    optimiser = torch.optim.Adam(fill.parameters(), 0.1)
    for _ in range(100):
        optimiser.zero_grad()
        torch.autograd.backward(F.mse_loss(fill(priors[which], generator)[0], priors[which]))
        optimiser.step()
    assert (fill(priors)[0].diagonal() > 0.9).all()
