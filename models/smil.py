"""SMIL: a two-stream network that goes on working where its second stream is missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WeightForm = Literal["inferred", "unit"]
Regularised = Literal["missing", "never"]

IDENTITY = 0.5413248546129181  # softplus of it is 1


@dataclass(frozen=True, slots=True)
class SmilConfig:
    """What the wrapper does for a missing stream.

    Attributes:
        n_priors: Cluster centres of the missing stream's features.
        weights: Mean of the priors' weights: `inferred` from the present stream (the authors'
            code), or `unit`, always one, with only the deviation inferred (the paper's sentence).
        regularises: When features are multiplied by softplus(r): where a stream is `missing`, or
            `never`.
        deviation: First standard deviation of the weights and of r.
    """

    n_priors: int = 10
    weights: WeightForm = "inferred"
    regularises: Regularised = "missing"
    deviation: float = 0.1

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: No prior, no positive deviation, or an unknown form of weights or time to
                regularise.
        """
        if self.n_priors < 1 or self.deviation <= 0:
            raise ValueError("SMIL: expected at least one prior and a positive deviation")
        if self.weights not in ("inferred", "unit"):
            raise ValueError(f"SMIL: weights are 'inferred' or 'unit', found {self.weights!r}")
        if self.regularises not in ("missing", "never"):
            raise ValueError(f"SMIL: unknown regularises {self.regularises!r}")


@dataclass(frozen=True, slots=True)
class SmilOutput:
    """What one pass gives.

    Attributes:
        logits: `[B, K]`.
        second: `[B, D2]` features of the second stream, seen or reconstructed.
        hidden: The joint features and each hidden layer of the head, after regularisation.
        divergence: Of the sampled variables from their priors, a scalar; zero where nothing was
            sampled.
    """

    logits: Tensor
    second: Tensor
    hidden: tuple[Tensor, ...]
    divergence: Tensor


class Gaussian(nn.Module):
    """A normal variable whose mean and deviation are inferred from features.

    It starts at a fixed mean and deviation, whatever the features are.
    """

    def __init__(self, n_in: int, n_out: int, mean: float, deviation: float) -> None:
        """Zero weights; the start is in the biases, and is also the prior."""
        super().__init__()
        self.mean = _constant_linear(n_in, n_out, mean)
        self.log_deviation = _constant_linear(n_in, n_out, _log(deviation))
        self.start = (mean, deviation)

    def forward(
        self, features: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """A draw `[B, n_out]` and its mean divergence from the distribution it started as.

        Without a generator it is the mean itself, and there is no divergence.
        """
        mean = self.mean(features)
        if generator is None:
            return torch.as_tensor(mean), None
        log_deviation = self.log_deviation(features)
        deviation = log_deviation.exp()
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        first_mean, first_deviation = self.start
        gap = (deviation.square() + (mean - first_mean).square()) / first_deviation**2
        gap = gap - 1 - 2 * (log_deviation - _log(first_deviation))
        return mean + noise.to(mean.device) * deviation, gap.mean() / 2


class PriorWeights(nn.Module):
    """Features of a missing stream as a weighted sum of priors.

    `w ~ N(mu(h), sigma(h))`, and the reconstruction is `sum_k softplus(w_k) m_k / sum_k
    softplus(w_k)`: always inside the hull of what was seen in training.
    """

    def __init__(self, n_in: int, priors: Tensor, config: SmilConfig) -> None:
        """Take the priors `[K, D]`; equal weights at the start."""
        super().__init__()
        self.register_buffer("priors", priors.clone())
        self.weights = Gaussian(n_in, len(priors), IDENTITY, config.deviation)
        self.is_unit = config.weights == "unit"
        self.priors: Tensor

    def forward(
        self, features: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Reconstruct `[B, D]` from the present stream's features; with the weights' divergence."""
        mixing, divergence = self.mixing(features, generator)
        return mixing @ self.priors, divergence

    def mixing(
        self, features: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Weights `[B, K]`, which sum to one (in the form `unit` only on average); divergence."""
        drawn, divergence = self.weights(features, generator)
        if self.is_unit:
            drawn = drawn - self.weights.mean(features) + 1
            return drawn / len(self.priors), divergence
        weights = F.softplus(drawn)
        return weights / weights.sum(1, keepdim=True).clamp_min(1e-6), divergence


class Smil(nn.Module):
    """Wraps two towers and a joint head so that the second stream may be missing.

    Where it is, its features are a weighted sum of priors and the features of the head are
    regularised, `h * softplus(r)` with `r ~ N(mu, sigma)` inferred from the layer below: after the
    concatenation and after each linear layer of the head but the last. Where both streams are
    there, the network is the plain one: head of the concatenated features.

    Reference:
        Ma et al., SMIL: Multimodal Learning with Severely Missing Modality, AAAI 2021.

    Differs:
        The weights of the priors are inferred and normalised as in the authors' code; with a mean
        of one, as the paper has it, the reconstruction is the same for every input once the noise
        is left out. Deviations are inferred and used (the authors' code infers and ignores them),
        features are multiplied as in the paper (their code adds).
    """

    def __init__(
        self,
        present: nn.Module,
        missing: nn.Module,
        head: nn.Sequential,
        priors: Tensor,
        config: SmilConfig,
    ) -> None:
        """Wrap.

        Args:
            present: Tower that is always fed, input to `[B, D1]`.
            missing: Tower whose input may be missing, to `[B, D2]`.
            head: Layers from `[B, D1 + D2]` to logits; the first is linear.
            priors: `[K, D2]`, see `cluster_centres`.
            config: Settings.

        Raises:
            ValueError: The head does not begin with a linear layer, or the priors do not fit.
        """
        super().__init__()
        first = head[0]
        if not isinstance(first, nn.Linear) or first.in_features <= priors.shape[1]:
            raise ValueError(f"SMIL: expected a linear layer over {priors.shape[1]}+ features")
        if len(priors) != config.n_priors:
            raise ValueError(f"SMIL: expected {config.n_priors} priors, found {len(priors)}")
        self.config = config
        self.present, self.missing, self.head = present, missing, head
        n_present = first.in_features - priors.shape[1]
        self.fill = PriorWeights(n_present, priors, config)
        widths = [] if config.regularises == "never" else [(n_present, first.in_features)]
        if widths:
            widths += [(linear.in_features, linear.out_features) for linear in _inner(head)]
        self.regularisers = nn.ModuleList(
            Gaussian(n_in, n_out, IDENTITY, config.deviation) for n_in, n_out in widths
        )

    def forward(
        self, first: Tensor, second: Tensor | None, generator: torch.Generator | None = None
    ) -> SmilOutput:
        """Classify; without `second` by reconstruction, sampled where a generator is given."""
        seen = self.present(first)
        if second is not None:
            return self._decide(seen, self.missing(second), iter(()), None, [])
        filled, divergence = self.fill(seen, generator)
        return self._decide(seen, filled, iter(self.regularisers), generator, [divergence])

    def backbone(self) -> Iterator[str]:
        """Names of the parameters that the inner step adapts: present tower and head."""
        for name, parameter in self.named_parameters():
            if name.split(".")[0] in ("present", "head") and parameter.requires_grad:
                yield name

    def _decide(
        self,
        seen: Tensor,
        second: Tensor,
        regularisers: Iterator[nn.Module],
        generator: torch.Generator | None,
        divergences: list[Tensor | None],
    ) -> SmilOutput:
        below, x = seen, torch.cat([seen, second], 1)
        x = _regularised(next(regularisers, None), below, x, generator, divergences)
        hidden = [x]
        for layer in self.head:
            below, x = x, layer(x)
            if isinstance(layer, nn.Linear) and layer is not self.head[-1]:
                x = _regularised(next(regularisers, None), below, x, generator, divergences)
                hidden.append(x)
        drawn = [d for d in divergences if d is not None]
        divergence = torch.stack(drawn).mean() if drawn else x.new_zeros(())
        return SmilOutput(x, second, tuple(hidden), divergence)


def cluster_centres(
    features: Tensor, n_clusters: int, generator: torch.Generator, n_rounds: int = 50
) -> Tensor:
    """Centres `[n_clusters, D]` of `[N, D]` features: k-means from a k-means++ start.

    Raises:
        ValueError: There are fewer features than clusters.
    """
    if len(features) < n_clusters:
        raise ValueError(f"k-means: expected {n_clusters} or more features, found {len(features)}")
    centres = _spread_start(features, n_clusters, generator)
    for _ in range(n_rounds):
        nearest = torch.cdist(features, centres).argmin(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, features)
        counts = torch.bincount(nearest, minlength=n_clusters).unsqueeze(1)
        moved = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _spread_start(features: Tensor, n_clusters: int, generator: torch.Generator) -> Tensor:
    """K-means++: each next centre is drawn by its squared distance from those there are."""
    chosen = [int(torch.randint(len(features), (1,), generator=generator))]
    for _ in range(n_clusters - 1):
        distance = torch.cdist(features, features[chosen]).amin(1).square()
        odds = distance if distance.sum() > 0 else torch.ones_like(distance)
        chosen.append(int(torch.multinomial(odds, 1, generator=generator)))
    return features[chosen]


def _regularised(
    regulariser: nn.Module | None,
    below: Tensor,
    x: Tensor,
    generator: torch.Generator | None,
    divergences: list[Tensor | None],
) -> Tensor:
    if regulariser is None:
        return x
    drawn, divergence = regulariser(below, generator)
    divergences.append(divergence)
    return x * F.softplus(drawn)


def _inner(head: nn.Sequential) -> list[nn.Linear]:
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    return linears[:-1]


def _constant_linear(n_in: int, n_out: int, value: float) -> nn.Linear:
    linear = nn.Linear(n_in, n_out)
    nn.init.zeros_(linear.weight)
    nn.init.constant_(linear.bias, value)
    return linear


def _log(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).log())
