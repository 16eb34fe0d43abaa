"""The search of MFAS on a score that is known."""

import pytest
import torch

from models.fusion.mfas import ACTIVATIONS
from models.fusion.search import Layers, MfasSearch, search_mfas

N_POINTS = 4


def planted(layers: Layers) -> float:
    """Best: two layers, the first stream deep, the second shallow, ReLU."""
    good = [
        x.depths[0] / N_POINTS - x.depths[1] / N_POINTS - ACTIVATIONS.index(x.activation) / 10
        for x in layers
    ]
    return sum(good) / len(good) - abs(len(layers) - 2) / 5


def search(seed: int, config: MfasSearch) -> tuple[list[Layers], list[float], int]:
    calls: list[Layers] = []

    def score(layers: Layers) -> float:
        calls.append(layers)
        return planted(layers)

    trials = search_mfas(score, N_POINTS, 2, config, torch.Generator().manual_seed(seed))
    return [x.layers for x in trials], [x.score for x in trials], len(calls)


def test_search_does_better_than_chance_with_few_trials() -> None:
    # 48 candidates of one layer, 2304 of two, 110592 of three.
    config = MfasSearch(n_layers=3, n_rounds=4, n_samples=5)
    best = []
    for seed in range(4):
        layers, scores, n_calls = search(seed, config)
        assert n_calls == len(layers) == len(set(layers)) <= 60
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(planted(layers[0]))
        best.append(scores[0])
    assert sum(best) / len(best) > 0.6  # of 0.75; the best of 60 blind draws is about 0.5


def test_same_generator_same_search() -> None:
    config = MfasSearch(n_layers=2, n_rounds=2, n_samples=3)
    assert search(1, config) == search(1, config)
    assert search(1, config)[0] != search(2, config)[0]


def test_a_small_space_is_searched_to_its_end() -> None:
    config = MfasSearch(n_layers=1, n_rounds=9, n_samples=9)
    layers, scores, _ = search(0, config)
    assert len(layers) == N_POINTS**2 * len(ACTIVATIONS)
    assert (layers[0][0].depths, layers[0][0].activation) == ((3, 0), "relu")
    assert scores[0] == pytest.approx(0.75 - 0.2)


def test_settings_are_positive() -> None:
    with pytest.raises(ValueError, match="expected positive numbers"):
        MfasSearch(n_samples=0)
