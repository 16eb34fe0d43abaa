"""PESQ, STOI, ESTOI and SI-SDR on arrays, exactly as the reference packages give them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pystoi import stoi as reference_stoi

from avse.evaluation.dnsmos import DNSMOS, dnsmos, is_installed
from avse.evaluation.errors import LengthsDiffer
from preprocessing.timeline import SAMPLE_RATE_HZ

Samples = NDArray[np.floating[Any]]

METRICS = ("pesq_wb", "pesq_nb", "stoi", "estoi", "si_sdr_db")
ALL_METRICS = (*METRICS, *DNSMOS)
"""DNSMOS is judged only where it is asked for: it takes longer than all others together."""
SI_SDR_LIMIT_DB = 100.0
SILENT_PEAK = 1e-7


class Unscorable(ValueError):
    """One metric has no value for this pair; the message says why."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the metrics say of one estimate.

    Attributes:
        values: By name from `METRICS`; None where a metric has no value.
        reasons: Why, for each metric without a value.
    """

    values: dict[str, float | None]
    reasons: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> float | None:
        """Value of one metric; None where there is none or it was not asked for."""
        return self.values.get(metric)


def score(
    clean: Samples,
    estimate: Samples,
    rate_hz: int = SAMPLE_RATE_HZ,
    metrics: tuple[str, ...] = METRICS,
) -> Scores:
    """Judge an estimate against the clean voice.

    Args:
        clean: `[L]`, the reference.
        estimate: `[L]`, what is judged.
        rate_hz: Of both; PESQ knows 8000 (narrow band only) and 16000.
        metrics: Which of `ALL_METRICS`.

    Raises:
        LengthsDiffer: The shapes differ.

    Example:
        >>> tone = np.sin(np.arange(16000) / 9.0)
        >>> score(tone, 0.5 * tone, metrics=("si_sdr_db",))["si_sdr_db"]
        100.0
    """
    check_lengths(clean, estimate)
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    guesses: dict[str, float] = {}
    for metric in metrics:
        try:
            if metric in DNSMOS:
                guesses = guesses or _guessed(estimate, rate_hz)
                values[metric] = guesses[metric]
            else:
                values[metric] = _one(metric, clean, estimate, rate_hz)
        except Unscorable as error:
            values[metric] = None
            reasons[metric] = str(error)
    return Scores(values, reasons)


def score_all(clean: Samples, estimates: list[Samples], metrics: tuple[str, ...]) -> list[Scores]:
    """Judge several estimates of one voice; runs in worker processes."""
    return [score(clean, estimate, metrics=metrics) for estimate in estimates]


def check_lengths(clean: Samples, estimate: Samples) -> None:
    """Insist on two sounds of one length.

    Raises:
        LengthsDiffer: They are not both `[L]` with the same L.
    """
    if clean.ndim != 1 or clean.shape != estimate.shape:
        found = f"{clean.shape} and {estimate.shape}"
        raise LengthsDiffer(f"expected two sounds of one length [L], found {found}")


def _guessed(estimate: Samples, rate_hz: int) -> dict[str, float]:
    if not is_installed():
        raise Unscorable("the package speechmos is not installed (extra dnsmos)")
    _check_heard("estimate", estimate)
    return dnsmos(estimate, rate_hz)


def _check_heard(name: str, sound: Samples) -> None:
    if not np.all(np.isfinite(sound)):
        raise Unscorable(f"the {name} holds NaN or infinite samples")
    if sound.size == 0 or float(np.max(np.abs(sound))) < SILENT_PEAK:
        raise Unscorable(f"the {name} is silent")


def _one(metric: str, clean: Samples, estimate: Samples, rate_hz: int) -> float:
    _check_heard("reference", clean)
    _check_heard("estimate", estimate)
    value = _FUNCTIONS[metric](clean, estimate, rate_hz)
    if not np.isfinite(value):
        raise Unscorable(f"{metric} is not a number")
    return float(value)


def pesq(clean: Samples, estimate: Samples, rate_hz: int, mode: str) -> float:
    """PESQ by the `pesq` package (extra `eval`), MOS-LQO; mode `wb` or `nb`.

    Raises:
        Unscorable: The package is absent or gives no value (no utterance found, too short).
    """
    if find_spec("pesq") is None:
        raise Unscorable("the package pesq is not installed (extra eval)")
    package = import_module("pesq")
    try:
        return float(package.pesq(rate_hz, clean, estimate, mode))
    except package.PesqError as error:
        raise Unscorable(f"{type(error).__name__}: {_text(error)}") from error


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def stoi(clean: Samples, estimate: Samples, rate_hz: int, *, is_extended: bool = False) -> float:
    """STOI (or ESTOI) by the `pystoi` package.

    Raises:
        Unscorable: Fewer than 30 frames are left when silence is taken out.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = reference_stoi(clean, estimate, rate_hz, extended=is_extended)
    if any("Not enough STFT frames" in str(warning.message) for warning in caught):
        raise Unscorable("fewer than 30 frames of speech")
    return float(value)


def si_sdr_db(clean: Samples, estimate: Samples) -> float:
    """Scale-invariant signal-to-distortion ratio of zero-mean signals, within +-100 dB.

    Reference:
        Le Roux et al., SDR - half-baked or well done?, ICASSP 2019, eq. 3.

    Raises:
        LengthsDiffer: The shapes differ.
    """
    check_lengths(clean, estimate)
    target = clean.astype(np.float64) - np.mean(clean, dtype=np.float64)
    heard = estimate.astype(np.float64) - np.mean(estimate, dtype=np.float64)
    projection = target * (np.dot(heard, target) / max(np.dot(target, target), 1e-30))
    rest = heard - projection
    signal, distortion = np.dot(projection, projection), np.dot(rest, rest)
    ratio_db = 10 * np.log10(max(signal, 1e-30) / max(distortion, 1e-30))
    return float(np.clip(ratio_db, -SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB))


_FUNCTIONS: dict[str, Callable[[Samples, Samples, int], float]] = {
    "pesq_wb": lambda clean, estimate, rate_hz: pesq(clean, estimate, rate_hz, "wb"),
    "pesq_nb": lambda clean, estimate, rate_hz: pesq(clean, estimate, rate_hz, "nb"),
    "stoi": stoi,
    "estoi": lambda clean, estimate, rate_hz: stoi(clean, estimate, rate_hz, is_extended=True),
    "si_sdr_db": lambda clean, estimate, rate_hz: si_sdr_db(clean, estimate),
}
