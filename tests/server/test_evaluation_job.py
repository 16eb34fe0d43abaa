"""Scores of pairs, and pairs that cannot be compared."""

from pathlib import Path

import numpy as np
import pytest

from preprocessing.errors import Unreadable
from preprocessing.media import MediaLimits
from preprocessing.types import no_progress
from server.evaluation_job import evaluate
from server.failures import JobFailed
from tests.media_factory import make_sound


def put(folder: Path, name: str, samples: np.ndarray) -> None:
    make_sound(folder / f"{name}.wav", samples.astype(np.float32)).rename(folder / name)


def voice(duration_s: float = 1.5) -> np.ndarray:
    times_s = np.arange(round(16_000 * duration_s)) / 16_000
    return 0.3 * np.sin(700 * times_s) * (1 + np.sin(20 * times_s))


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.05, n_samples)


def scored(folder: Path) -> dict:
    return evaluate(folder, MediaLimits(), no_progress)


def test_an_estimate_is_scored_and_compared_with_the_noisy_sound(tmp_path: Path) -> None:
    clean = voice()
    put(tmp_path, "reference", clean)
    put(tmp_path, "estimate", clean + 0.1 * noise(clean.size))
    put(tmp_path, "noisy", clean + noise(clean.size))
    found = scored(tmp_path)
    assert found["si_sdr"] == pytest.approx(found["noisy"]["si_sdr"] + 20, abs=0.5)
    assert found["improvement"]["si_sdr"] == pytest.approx(20, abs=0.5)
    assert found["stoi"] > found["noisy"]["stoi"]
    assert found["duration"] == 1.5
    assert found["warnings"] == []


def test_padding_is_cut_with_a_warning_and_silence_has_no_score(tmp_path: Path) -> None:
    put(tmp_path, "reference", voice())
    put(tmp_path, "estimate", np.zeros(24_800))
    found = scored(tmp_path)
    assert found["noisy"] is found["improvement"] is None
    assert found["si_sdr"] is None
    assert "silent" in found["reasons"]["estimate"]["si_sdr"]
    assert found["warnings"] == ["the last 50.0 ms of the estimate were left out"]


@pytest.mark.parametrize(("duration_s", "code"), [(3.0, "too_long"), (0.5, "too_short")])
def test_lengths_that_differ_are_refused(tmp_path: Path, duration_s: float, code: str) -> None:
    put(tmp_path, "reference", voice())
    put(tmp_path, "estimate", voice(duration_s))
    with pytest.raises(JobFailed, match=r"expected 1\.50 s") as caught:
        scored(tmp_path)
    assert caught.value.failure.code == code


def test_missing_and_unreadable_sounds(tmp_path: Path) -> None:
    put(tmp_path, "reference", voice())
    with pytest.raises(JobFailed, match="estimate is missing"):
        scored(tmp_path)
    (tmp_path / "estimate").write_bytes(b"no sound at all")
    with pytest.raises(Unreadable):
        scored(tmp_path)
