"""PESQ, STOI and SI-SDR of an estimate, and of the noisy sound it came from, in a decode child."""

from pathlib import Path
from typing import Any

from avse.evaluation.metrics import Scores, score
from preprocessing.media import MediaLimits, read_audio
from preprocessing.timeline import SAMPLE_RATE_HZ
from preprocessing.types import Progress, Waveform
from server.failures import JobFailed

SOUNDS = ("reference", "estimate", "noisy")
MAX_APART_S = 0.1
METRICS = ("pesq_wb", "stoi", "estoi", "si_sdr_db")


def evaluate(folder: Path, limits: MediaLimits, progress: Progress) -> dict[str, Any]:
    """Scores of the sounds `estimate` and, where it is there, `noisy` against `reference`.

    Lengths may differ by 0.1 s, as coders pad; the longer one is cut, with a warning.

    Returns:
        `scores`: by sound, then by metric, None where a metric has no value; `reasons` why;
        `duration_s`; `warnings`.

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
        found[name] = score(reference, sounds[name].samples[:n_samples], metrics=METRICS)
    return {
        "scores": {name: scores.values for name, scores in found.items()},
        "reasons": {name: scores.reasons for name, scores in found.items() if scores.reasons},
        "duration_s": n_samples / SAMPLE_RATE_HZ,
        "warnings": warnings,
    }


def _common_length(sounds: dict[str, Waveform]) -> tuple[int, list[str]]:
    """Samples that all sounds have, and a warning for each that is longer.

    Raises:
        JobFailed: One is missing, or the lengths differ too much.
    """
    for name in SOUNDS[:2]:
        if name not in sounds:
            raise JobFailed("invalid_request", f"the {name} is missing")
    n_samples = min(sound.n_samples for sound in sounds.values())
    warnings = []
    for name, sound in sounds.items():
        more_s = (sound.n_samples - n_samples) / SAMPLE_RATE_HZ
        if more_s > MAX_APART_S:
            found = ", ".join(f"{key} {value.duration_s:.2f} s" for key, value in sounds.items())
            raise JobFailed("invalid_request", f"expected sounds of one length, found {found}")
        if more_s > 0:
            warnings.append(f"the last {1000 * more_s:.1f} ms of the {name} were left out")
    return n_samples, warnings
