"""The metrics are the reference packages' own figures, and what has no value says why."""

import importlib.util
import math

import numpy as np
import pystoi
import pytest

from avse.evaluation import metrics
from avse.evaluation.errors import LengthsDiffer
from avse.evaluation.metrics import METRICS, score, si_sdr_db

RATE_HZ = 16_000
needs_pesq = pytest.mark.skipif(
    importlib.util.find_spec("pesq") is None, reason="the extra eval is not installed"
)


def speech_like(seed: int, duration_s: float = 2.0) -> np.ndarray:
    """A buzz with syllables."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    pitch_hz = 110 + 40 * rng.random()
    voice = sum(np.sin(2 * np.pi * k * pitch_hz * time_s) / k for k in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * (3 + seed % 3) * time_s + seed), 0, None)
    sound = voice * syllables + 0.01 * rng.standard_normal(len(time_s))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    clean = speech_like(1, 1.0)
    noise = np.random.default_rng(0).standard_normal(len(clean)) * 0.03
    return clean, (clean + noise).astype(np.float32)


@needs_pesq
@pytest.mark.parametrize(("metric", "mode"), [("pesq_wb", "wb"), ("pesq_nb", "nb")])
def test_pesq_is_the_package_s_own(
    pair: tuple[np.ndarray, np.ndarray], metric: str, mode: str
) -> None:
    import pesq

    assert score(*pair, metrics=(metric,))[metric] == pesq.pesq(RATE_HZ, *pair, mode)


@pytest.mark.parametrize("is_extended", [False, True])
def test_stoi_is_the_package_s_own(pair: tuple[np.ndarray, np.ndarray], is_extended: bool) -> None:
    name = "estoi" if is_extended else "stoi"
    reference = pystoi.stoi(*pair, RATE_HZ, extended=is_extended)
    # ESTOI adds a random 1e-16 to keep its divisions safe.
    assert score(*pair, metrics=(name,))[name] == pytest.approx(reference, rel=0, abs=1e-12)


def test_si_sdr_of_a_known_ratio_whatever_the_scale() -> None:
    rng = np.random.default_rng(3)
    clean, noise = rng.standard_normal((2, 50_000))
    clean, noise = clean - clean.mean(), noise - noise.mean()
    noise -= clean * (noise @ clean) / (clean @ clean)
    noise *= np.linalg.norm(clean) / np.linalg.norm(noise) * 10 ** (-7 / 20)
    assert si_sdr_db(clean, clean + noise) == pytest.approx(7.0, abs=1e-6)
    assert si_sdr_db(clean, 0.1 * (clean + noise)) == pytest.approx(7.0, abs=1e-6)
    assert si_sdr_db(clean, clean) == 100.0


def test_lengths_must_agree() -> None:
    with pytest.raises(LengthsDiffer, match="16000"):
        score(np.ones(16_000), np.ones(15_999))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("estimate", "why"),
    [(np.zeros(16_000), "silent"), (np.full(16_000, math.nan), "NaN")],
)
def test_silence_and_nan_have_a_reason(metric: str, estimate: np.ndarray, why: str) -> None:
    found = score(speech_like(0, 1.0), estimate, metrics=(metric,))
    assert found[metric] is None
    assert why in found.reasons[metric]


@needs_pesq
def test_pesq_errors_become_reasons() -> None:
    tiny = np.full(2_000, 0.1, np.float32)
    found = score(tiny, tiny, metrics=("pesq_wb", "stoi"))
    assert found["pesq_wb"] is None
    assert "BufferTooShortError" in found.reasons["pesq_wb"]
    assert "30 frames" in found.reasons["stoi"]
    with pytest.raises(metrics.Unscorable, match="NoUtterancesError"):
        metrics.pesq(np.zeros(16_000), speech_like(1, 1.0), RATE_HZ, "wb")


def test_absent_pesq_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    monkeypatch.setattr(metrics, "find_spec", lambda _: None)
    assert "extra eval" in score(*pair, metrics=("pesq_wb",)).reasons["pesq_wb"]
