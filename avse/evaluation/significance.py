"""Means with bootstrap intervals and paired tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

N_RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its 95 % bootstrap interval.

    Attributes:
        mean: NaN where there are no values.
        low: Lower end.
        high: Upper end.
        n: How many values.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of paired differences, its interval, and Wilcoxon's signed-rank p.

    Attributes:
        delta: First minus second.
        p: Two-sided; 1.0 where all differences are zero, NaN without pairs.
    """

    delta: Mean
    p: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.delta.n > 1 and (self.delta.low > 0 or self.delta.high < 0)


def mean_of(values: Sequence[float], seed: int = 0) -> Mean:
    """Mean of independent values with a percentile bootstrap over them."""
    n_values = len(values)
    if n_values == 0:
        return Mean(math.nan, math.nan, math.nan, 0)
    numbers: NDArray[np.float64] = np.asarray(values, np.float64)
    rng = np.random.default_rng(seed)
    draws = rng.integers(n_values, size=(N_RESAMPLES, n_values))
    means = numbers[draws].mean(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Mean(float(numbers.mean()), float(low), float(high), n_values)


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Difference:
    """Compare two systems on the same mixtures.

    Raises:
        ValueError: The lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"expected pairs, found {len(first)} and {len(second)} values")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if not differences:
        return Difference(mean_of([], seed), math.nan)
    p = 1.0
    if any(d != 0 for d in differences):
        p = float(wilcoxon(differences, zero_method="zsplit", method="asymptotic").pvalue)
    return Difference(mean_of(differences, seed), p)
