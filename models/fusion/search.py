"""The search of MFAS: which depths of the streams to join, by a score and a surrogate of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor

from models.fusion.mfas import ACTIVATIONS, MfasLayer

Layers = tuple[MfasLayer, ...]


@dataclass(frozen=True, slots=True)
class MfasSearch:
    """How far to search.

    Attributes:
        n_layers: Joint layers of the longest candidates (paper: 4).
        n_rounds: Passes from one layer to `n_layers` (paper: 5).
        n_samples: Candidates that are scored at each step (paper: 50).
        temperature: Of the first draw; it falls to a twentieth in the last (paper: 10 to 0.2, for
            its scale of scores; here predictions are standardised).
        ridge: Weight decay of the surrogate.
    """

    n_layers: int = 4
    n_rounds: int = 3
    n_samples: int = 6
    temperature: float = 1.0
    ridge: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: A number that is not positive.
        """
        if min(self.n_layers, self.n_rounds, self.n_samples, self.temperature, self.ridge) <= 0:
            raise ValueError(f"mfas search: expected positive numbers, found {self}")


@dataclass(frozen=True, slots=True)
class MfasTrial:
    """A scored candidate."""

    layers: Layers
    score: float


def search_mfas(
    score: Callable[[Layers], float],
    n_points: int,
    n_streams: int,
    config: MfasSearch,
    generator: Generator,
) -> list[MfasTrial]:
    """Candidates in order of their score, best first; the score decides, the surrogate only draws.

    Args:
        score: Trains `MfasFusion(layers=...)` for a while and says how good it is on held-out
            clips; higher is better. It is called once for each candidate.
        n_points: Depths of the towers.
        n_streams: Streams.
        config: How far to search.
        generator: Of the draws.

    Reference:
        Perez-Rua et al., MFAS, CVPR 2019, algorithm 1.

    Differs:
        The surrogate is ridge regression on one-hot choices instead of an LSTM: with a few dozen
        trials there is nothing for an LSTM to learn. The first step draws too, for six depths of
        two streams alone make 108 candidates of one layer.
    """
    one_layer = [
        MfasLayer(depths, activation)
        for depths in product(range(n_points), repeat=n_streams)
        for activation in ACTIVATIONS
    ]
    scored: dict[Layers, float] = {}
    n_steps = config.n_rounds * config.n_layers
    for step in range(n_steps):
        n_layers = step % config.n_layers + 1
        starts = _best_of_length(scored, n_layers - 1, config.n_samples)
        candidates = [(*start, layer) for start in starts for layer in one_layer]
        fresh = [x for x in candidates if x not in scored]
        if not fresh:
            continue
        temperature = config.temperature * 0.05 ** (step / max(1, n_steps - 1))
        predicted = _predict(scored, fresh, n_points, config)
        for index in _draw(predicted / temperature, config.n_samples, generator):
            scored[fresh[index]] = score(fresh[index])
    trials = [MfasTrial(layers, value) for layers, value in scored.items()]
    return sorted(trials, key=lambda trial: -trial.score)


def _best_of_length(scored: dict[Layers, float], n_layers: int, n_kept: int) -> list[Layers]:
    """The best candidates of a length; the empty one for length 0."""
    if n_layers == 0:
        return [()]
    known = [x for x in scored if len(x) == n_layers]
    return sorted(known, key=lambda x: -scored[x])[:n_kept]


def _predict(
    scored: dict[Layers, float], candidates: Sequence[Layers], n_points: int, config: MfasSearch
) -> Tensor:
    """Standardised scores the surrogate expects; zeros while nothing is known."""
    if len(scored) < 2:
        return torch.zeros(len(candidates))
    known = torch.tensor([_one_hot(x, n_points, config.n_layers) for x in scored])
    target = torch.tensor(list(scored.values()))
    target = (target - target.mean()) / target.std().clamp(min=1e-6)
    gram = known.T @ known + config.ridge * torch.eye(known.shape[1])
    weights = torch.linalg.solve(gram, torch.mv(known.T, target))
    coded = torch.tensor([_one_hot(x, n_points, config.n_layers) for x in candidates])
    return torch.mv(coded, weights)


def _one_hot(layers: Layers, n_points: int, n_layers: int) -> list[float]:
    """Length and, layer by layer, the depth of each stream and the activation."""
    n_each = 1 + len(layers[0].depths) * n_points + len(ACTIVATIONS)
    coded = [0.0] * (n_layers * n_each)
    for index, layer in enumerate(layers):
        start = index * n_each
        coded[start] = 1.0
        for stream, depth in enumerate(layer.depths):
            coded[start + 1 + stream * n_points + depth] = 1.0
        coded[start + n_each - len(ACTIVATIONS) + ACTIVATIONS.index(layer.activation)] = 1.0
    return coded


def _draw(predicted: Tensor, n_drawn: int, generator: Generator) -> list[int]:
    shares = predicted.softmax(0)
    n_possible = min(n_drawn, int((shares > 0).sum()))
    drawn: list[int] = torch.multinomial(shares, n_possible, generator=generator).tolist()
    return drawn
