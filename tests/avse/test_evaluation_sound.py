"""Bad sound: what each disturbance does to a mixture, and the rows that come of it."""

from pathlib import Path

import numpy as np
import pytest

from avse.evaluation import EvaluateOptions, run_evaluation
from avse.evaluation.errors import InvalidOptions
from avse.evaluation.sound_disturbances import (
    SOUND_DISTURBANCES,
    DisturbedPlan,
    parse_sound_disturbance,
    sound_controls,
)
from avse.evaluation.trials import ReadAudio, Trial, TrialFacts
from preprocessing.media import read_audio
from preprocessing.types import Waveform
from tests.avse.test_evaluation_metrics import speech_like
from tests.avse.test_evaluation_run import FAST, Fake, corpus_dir

__all__ = ["corpus_dir"]
N_SAMPLES = 24_000


def sound() -> np.ndarray:
    return (0.3 * speech_like(3, N_SAMPLES / 16_000)).astype(np.float32)


def changed(control: str) -> np.ndarray:
    kind, strength = parse_sound_disturbance(control)
    return kind.change(sound(), strength, np.random.default_rng(0))


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("control", sound_controls())
def test_every_strength_changes_the_sound_the_same_way_each_time_and_keeps_it_in_step(
    control: str,
) -> None:
    first, again = changed(control), changed(control)
    assert np.array_equal(first, again)
    assert first.shape == (N_SAMPLES,)
    assert first.dtype == np.float32
    assert not np.allclose(first, sound(), atol=1e-4)
    assert np.abs(first).max() <= 1.0
    likeness = np.correlate(first, sound()[200:-200])
    assert int(likeness.argmax()) == pytest.approx(200, abs=1)


def test_fewer_bits_leave_less_of_a_sound() -> None:
    errors = [level(changed(f"opus:{kbits}") - sound()) for kbits in (64, 24, 8)]
    assert errors == sorted(errors)


def test_a_telephone_lets_nothing_through_below_300_hz_and_above_3400() -> None:
    power = np.abs(np.fft.rfft(changed("band:3.4"))) ** 2
    hz = np.fft.rfftfreq(N_SAMPLES, 1 / 16_000)
    outside = power[(hz < 200) | (hz > 4500)].sum()
    assert outside < 1e-3 * power.sum()


def test_hiss_and_room_stand_as_far_below_as_asked() -> None:
    hiss = changed("hiss:20") - sound()
    assert 20 * np.log10(level(sound()) / level(hiss)) == pytest.approx(20, abs=0.5)
    kind = SOUND_DISTURBANCES["room"]
    click = np.zeros(16_000, np.float32)
    click[100] = 0.5
    answer = kind.change(click, 12.0, np.random.default_rng(0))
    assert int(np.abs(answer).argmax()) == 100
    tail = np.linalg.norm(answer[101:]) / answer[100]
    assert 20 * np.log10(tail) == pytest.approx(-12, abs=0.1)


def test_clipped_peaks_stand_as_far_above_the_level_as_asked() -> None:
    peak = np.abs(changed("clip:3")).max()
    assert 20 * np.log10(peak / level(sound())) == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("control", ["opus", "opus:loud", "opus:1", "tape:3", "hiss:-1"])
def test_unknown_ones_are_told(control: str) -> None:
    with pytest.raises(InvalidOptions, match=r"expected one of opus:6\.\.256, aac:16\.\.256"):
        EvaluateOptions(Path("out"), Path("data"), sound=(control,))


def test_disturbed_mixtures_are_conditions_of_their_own(corpus_dir: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(
        tmp_path / "out", corpus_dir, conditions=("two_0db",), sound=("hiss:5", "opus:24"),
        metrics=FAST, n_workers=1,
    )  # fmt: skip
    rows = run_evaluation(options, systems=[Fake(sees=False)]).rows
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row.facts.condition, row.system), []).append(row.value("stoi_in") or 0)
    conditions = ("two_0db", "two_0db+hiss5", "two_0db+opus24")
    assert list(dict.fromkeys(name for name, _ in found)) == list(conditions)
    plain, hissing, _ = (np.mean(found[name, "fake"]) for name in conditions)
    assert hissing < plain - 0.01


def test_a_voice_is_compared_with_what_the_line_lets_through_of_it() -> None:
    class Alone:
        facts = TrialFacts("clip", "clean", "test")

        def render(self, read: ReadAudio) -> Trial:
            voice = Waveform(sound(), 16_000)
            return Trial(voice, voice)

    for control, is_same in (("band:3.4", True), ("hiss:20", False)):
        trial = DisturbedPlan(Alone(), control, 0).render(read_audio)
        assert trial.noisy is not None
        assert np.array_equal(trial.clean.samples, trial.noisy.samples) is is_same
