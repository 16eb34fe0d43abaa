"""PESQ, STOI and SI-SDR of an estimate, and of the noisy sound it came from, in a decode child."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avse.evaluation.metrics import Scores, score
from preprocessing.media import MediaLimits, read_audio
from preprocessing.timeline import SAMPLE_RATE_HZ
from preprocessing.types import Progress, Waveform
from server.failures import JobFailed

SOUNDS = ("reference", "estimate", "noisy")
MAX_APART_S = 0.1
NAMES = {"pesq_wb": "pesq", "stoi": "stoi", "estoi": "estoi", "si_sdr_db": "si_sdr"}


def evaluate(folder: Path, limits: MediaLimits, progress: Progress) -> dict[str, Any]:
    """Scores of the sounds `estimate` and, where it is there, `noisy` against `reference`.

    Lengths may differ by 0.1 s, as coders pad; the longer one is cut, with a warning.

    Returns:
        `pesq`, `stoi`, `estoi` and `si_sdr` of the estimate, None where a metric has no value and
        `reasons` why; `noisy` likewise and `improvement` over it; `duration`; `warnings`.

    Raises:
        JobFailed: The sounds cannot be compared.
        MediaError: One of them cannot be read.
    """
    sounds: dict[str, Waveform] = {}
    names = [name for name in SOUNDS if (folder / name).exists()]
    for number, name in enumerate(names):
        progress("decode", number, len(names))
        sounds[name] = read_audio(folder / name, limits=limits)
    n_samples, warnings = _common_length(sounds)
    reference = sounds["reference"].samples[:n_samples]
    found: dict[str, Scores] = {}
    for number, name in enumerate(names[1:]):
        progress("infer", number, len(names) - 1)
        found[name] = score(reference, sounds[name].samples[:n_samples], metrics=tuple(NAMES))
    estimate, noisy = found["estimate"], found.get("noisy")
    return {
        **_named(estimate.values),
        "duration": n_samples / SAMPLE_RATE_HZ,
        "noisy": None if noisy is None else _named(noisy.values),
        "improvement": None if noisy is None else _improvement(estimate, noisy),
        "reasons": {name: _named(scores.reasons) for name, scores in found.items()},
        "warnings": warnings,
    }


def _named(by_metric: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the names of the interface."""
    return {NAMES[metric]: value for metric, value in by_metric.items()}


def _improvement(estimate: Scores, noisy: Scores) -> dict[str, float | None]:
    """Estimate minus noisy, None where one of them has no value."""
    gains: dict[str, float | None] = {}
    for metric, after in estimate.values.items():
        before = noisy[metric]
        gains[NAMES[metric]] = None if after is None or before is None else after - before
    return gains


def _common_length(sounds: dict[str, Waveform]) -> tuple[int, list[str]]:
    """Samples that all sounds have, and a warning for each that is longer.

    Raises:
        JobFailed: One is missing, or the lengths differ too much.
    """
    for name in SOUNDS[:2]:
        if name not in sounds:
            raise JobFailed("invalid_request", f"the {name} is missing")
    wanted = sounds["reference"].n_samples
    for name, sound in sounds.items():
        apart_s = (sound.n_samples - wanted) / SAMPLE_RATE_HZ
        if abs(apart_s) > MAX_APART_S:
            expected_s = wanted / SAMPLE_RATE_HZ
            detail = f"{name}: expected {expected_s:.2f} s, found {sound.duration_s:.2f} s"
            raise JobFailed("too_long" if apart_s > 0 else "too_short", detail)
    n_samples = min(sound.n_samples for sound in sounds.values())
    warnings = [
        f"the last {(sound.n_samples - n_samples) / 16:.1f} ms of the {name} were left out"
        for name, sound in sounds.items()
        if sound.n_samples > n_samples
    ]
    return n_samples, warnings
