"""Mixtures: who speaks, how loud, and the same again from the same seed."""

import csv
from pathlib import Path

import numpy as np
import pytest

from avse.evaluation.errors import EvaluationError, InvalidOptions, NoLips
from avse.evaluation.lips import CropCache, Sight, mouth_track
from avse.evaluation.mixtures import (
    STANDARD_CONDITIONS,
    Corpus,
    MixtureSpec,
    condition,
    parse_range_db,
    plan_mixtures,
)
from avse.evaluation.trials import TrialFacts
from preprocessing.types import MouthTrack, Waveform

SPEAKERS = ("ann", "bob", "cid", "dee")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("corpus")
    clips = [(f"av/news/{s}/{n}.mp4", s, "f", "test", "en") for s in SPEAKERS for n in range(3)]
    clips += [(f"av/news/eve/{n}.mp4", "eve", "f", "train", "en") for n in range(2)]
    noises = [(f"noise/{c}.opus", "noise", "test", "esc", c, "5") for c in ("rain", "dog")]
    _write(root / "av.csv", "path,speaker,gender,split,language", clips)
    _write(root / "audio.csv", "path,type,split,dataset,speaker_or_class,seconds", noises)
    return Corpus.read(root)


def _write(path: Path, header: str, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as lines:
        csv.writer(lines).writerows([header.split(","), *rows])


def read(path: Path) -> Waveform:
    """Noise of a length and seed that the name decides."""
    seed = sum(map(ord, path.as_posix()[-12:]))
    samples = 0.1 * np.random.default_rng(seed).standard_normal(8_000 + 37 * (seed % 50))
    return Waveform(samples.astype(np.float32), 16_000)


def ratio_db(clean: np.ndarray, noisy: np.ndarray) -> float:
    rest = noisy.astype(float) - clean
    return float(10 * np.log10(np.sum(clean.astype(float) ** 2) / np.sum(rest**2)))


@pytest.mark.parametrize("name", STANDARD_CONDITIONS)
def test_standard_conditions_have_their_ratio(corpus: Corpus, name: str) -> None:
    plans = plan_mixtures(corpus, condition(name, "test", 5))
    assert len(plans) == 12
    for plan in plans[::5]:
        trial = plan.render(read)
        assert trial.noisy is not None
        assert trial.noisy.n_samples == trial.clean.n_samples
        assert np.abs(trial.noisy.samples).max() <= 0.9901
        if plan.facts.snr_db is None:
            assert np.array_equal(trial.clean.samples, trial.noisy.samples)
        else:
            found = ratio_db(trial.clean.samples, trial.noisy.samples)
            assert found == pytest.approx(plan.facts.snr_db, abs=0.01)


def test_interferers_are_other_people_of_the_split(corpus: Corpus) -> None:
    for plan in plan_mixtures(corpus, condition("three_paper", "test", 0)):
        people = [Path(path).parent.name for path in plan.voices]
        assert len(set(people)) == 2
        assert plan.facts.speaker not in people
        assert set(people) <= set(SPEAKERS)
        assert 2.5 <= (plan.facts.snr_db or 0) <= 17.5
    babble = plan_mixtures(corpus, condition("babble6_0db", "test", 0))[0]
    assert len(set(babble.voices)) == 6


def test_the_seed_and_the_clip_decide_everything(corpus: Corpus) -> None:
    spec = condition("three_paper", "test", 3)
    first, again = plan_mixtures(corpus, spec), plan_mixtures(corpus, spec)
    assert first == again
    one, two = first[4].render(read), again[4].render(read)
    assert one.noisy is not None
    assert two.noisy is not None
    assert np.array_equal(one.noisy.samples, two.noisy.samples)
    assert plan_mixtures(corpus, condition("three_paper", "test", 4)) != first
    few = plan_mixtures(corpus, spec, limit=4)
    assert {plan.facts.speaker for plan in few} == set(SPEAKERS)
    assert set(few) <= set(first)


def test_conditions_share_their_voices(corpus: Corpus) -> None:
    soft = plan_mixtures(corpus, condition("babble6_5db", "test", 0))
    loud = plan_mixtures(corpus, condition("babble6_-5db", "test", 0))
    assert [p.voices for p in soft] == [p.voices for p in loud]


def test_voices_and_noise_together(corpus: Corpus) -> None:
    spec = MixtureSpec("both", 2, (3, 3), "rain", 0, "test")
    plan = plan_mixtures(corpus, spec)[0]
    assert plan.facts.noise_class == "rain"
    trial = plan.render(read)
    assert trial.noisy is not None
    assert ratio_db(trial.clean.samples, trial.noisy.samples) == pytest.approx(3, abs=0.01)


def test_names_of_conditions() -> None:
    assert condition("talkers4_-5:5db", "test", 0).snr_db == (-5, 5)
    assert condition("noise_10db", "test", 0).noise == "any"
    assert parse_range_db("2.5:17.5") == (2.5, 17.5)
    for wrong in ("1:2:3", "loud"):
        with pytest.raises(InvalidOptions, match="SNR"):
            parse_range_db(wrong)
    with pytest.raises(InvalidOptions, match="two_0db"):
        condition("nonsense", "test", 0)


def test_what_does_not_fit_is_refused(corpus: Corpus) -> None:
    with pytest.raises(InvalidOptions, match="split"):
        plan_mixtures(corpus, condition("two_0db", "moon", 0))
    with pytest.raises(InvalidOptions, match="other speakers"):
        plan_mixtures(corpus, condition("two_0db", "train", 0))
    with pytest.raises(InvalidOptions, match="thunder"):
        plan_mixtures(corpus, MixtureSpec("x", 1, (0, 0), "thunder"))
    with pytest.raises(InvalidOptions, match="1 talker"):
        MixtureSpec("x", 0)
    with pytest.raises(InvalidOptions, match="LOW:HIGH"):
        MixtureSpec("x", 2, (5, 0))
    plan = plan_mixtures(corpus, condition("two_0db", "test", 0))[0]
    with pytest.raises(EvaluationError, match="silence"):
        plan.render(lambda _: Waveform(np.zeros(9_000, np.float32), 16_000))


def crops_for(clip: str) -> MouthTrack:
    crops = np.full((20, 4, 4), sum(map(ord, clip)) % 256, np.uint8)
    return mouth_track(crops, np.ones(20, bool))


def test_controls_of_the_lips(corpus: Corpus) -> None:
    sight = Sight(crops_for, corpus, 0)
    facts = plan_mixtures(corpus, condition("two_0db", "test", 0))[0].facts
    n_samples = 19 * 640
    own, clip = sight.mouth(facts, "own", n_samples)
    assert clip == facts.clip
    assert own is not None
    assert own.crops.shape == (19, 4, 4)
    wrong, clip = sight.mouth(facts, "wrong_person", 50 * 640)
    assert facts.speaker not in clip
    assert clip not in facts.sources
    assert wrong is not None
    assert wrong.crops.shape == (50, 4, 4)
    _, clip = sight.mouth(facts, "same_person_other_clip", n_samples)
    assert facts.speaker in clip
    assert clip != facts.clip
    assert sight.mouth(facts, "none", n_samples) == (None, "")


def test_own_lips_end_a_frame_early_or_do_not_fit(corpus: Corpus) -> None:
    sight = Sight(crops_for, corpus, 0)
    facts = TrialFacts("av/news/ann/0.mp4", "two_0db", "test", "ann")
    mouth, _ = sight.mouth(facts, "own", 21 * 640)
    assert mouth is not None
    assert mouth.is_visible.tolist() == [True] * 20 + [False]
    assert not mouth.crops[-1].any()
    with pytest.raises(NoLips, match="found 20"):
        sight.mouth(facts, "own", 40 * 640)
    with pytest.raises(NoLips, match="no mouth crops"):
        Sight(lambda _: None, corpus, 0).mouth(facts, "own", 640)
    with pytest.raises(NoLips, match="no corpus"):
        Sight(crops_for, None, 0).mouth(facts, "wrong_person", 640)


def test_cached_crops(tmp_path: Path) -> None:
    crops = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4)
    np.savez(tmp_path / "av__x__1.mp4.npz", crops=crops, is_visible=np.array([True, False]))
    cache = CropCache(tmp_path)
    track = cache("av/x/1.mp4")
    assert track is not None
    assert np.array_equal(track.crops, crops)
    assert track.is_visible.tolist() == [True, False]
    assert cache("av/x/2.mp4") is None
