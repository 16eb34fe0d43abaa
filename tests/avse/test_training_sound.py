"""The network that hears only: its mixtures, two steps of its training, its bundle in use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from avse.bundle import load_bundle
from avse.enhancer import Enhancer
from avse.training.manifest import ManifestError
from avse.training.noisy_speech import NoisySpeech, NoisySpeechConfig
from avse.training.sound_only import SoundConfig
from avse.training.sound_recipe import SoundRecipe, loudness_range_db, train_sound
from avse.training.sounds import Voice, VoicePool, level
from models.sound_net import SoundNet, SoundNetConfig

SMALL = SoundRecipe(
    SoundConfig(
        SoundNetConfig(widths=(4, 4, 6, 6), n_bottleneck=8, dilations=(1,)),
        NoisySpeechConfig(n_frames=10),
        n_steps=2,
        batch_size=2,
        validate_every=2,
    ),
    n_valid=2,
    n_threads=1,
)


def speech(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Bursts of a buzz between silences, int16."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(int(16_000 * seconds)) / 16_000
    buzz = np.sign(np.sin(2 * np.pi * (100 + 20 * seed) * time_s)) * 0.2
    loud = np.repeat(rng.integers(0, 2, int(seconds * 5)), 3200)
    loud[:3200] = 1
    return np.round(buzz * loud * 32767).astype(np.int16)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two clean voices, a noisy one and a noise on both sides of the split; no clips of faces."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,type,split,dataset,speaker_or_class,seconds"]
    for split in ("train", "valid"):
        for index in range(3):
            samples = speech(index)
            if index == 2:
                samples = (samples / 4 + rng.normal(0, 1500, len(samples))).astype(np.int16)
            wavfile.write(folder / f"{split}{index}.wav", 16_000, samples)
            lines.append(f"{split}{index}.wav,speech,{split},made,{split}{index},4")
        hiss = rng.normal(0, 3000, 16_000).astype(np.int16)
        wavfile.write(folder / f"{split}_hiss.wav", 16_000, hiss)
        lines.append(f"{split}_hiss.wav,noise,{split},made,hiss,1")
    (folder / "audio.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "av.csv").write_text("path,speaker,gender,split,language\n", encoding="utf-8")
    return folder


def maker(**changes: object) -> NoisySpeech:
    voices = [Voice(f"made/{n}", "made", speech(n)) for n in range(3)]
    hiss = np.random.default_rng(0).normal(0, 3000, 64_000).astype(np.int16)
    config = replace(NoisySpeechConfig(n_frames=25), **changes)  # type: ignore[arg-type]
    return NoisySpeech(VoicePool(voices), [hiss], config)


def test_the_same_numbers_give_the_same_batch() -> None:
    batches = [maker().batch(4, np.random.default_rng(5)) for _ in range(2)]
    for first, second in zip(*batches, strict=True):
        assert first.shape == (4, 16_000)
        assert first.dtype == torch.float32
        assert torch.equal(first, second)


def test_noise_stands_as_far_below_the_voice_as_asked() -> None:
    mixtures = maker(snr_db=(7.0, 7.0), clean_share=0.0, no_voice_share=0.0)
    noisy, clean = (x.numpy() for x in mixtures.batch(6, np.random.default_rng(1)))
    for mixture, voice in zip(noisy, clean, strict=True):
        assert 20 * np.log10(level(voice) / level(mixture - voice)) == pytest.approx(7, abs=0.01)


def test_some_windows_are_clean_and_some_hold_no_voice() -> None:
    noisy, clean = maker(clean_share=1.0, no_voice_share=0.0).batch(3, np.random.default_rng(0))
    assert torch.equal(noisy, clean)
    noisy, clean = maker(clean_share=0.0, no_voice_share=1.0).batch(3, np.random.default_rng(0))
    assert not clean.any()
    assert noisy.any()


def test_a_voice_with_noise_of_its_own_has_a_small_range() -> None:
    rng = np.random.default_rng(0)
    clean = speech(1)
    noisy = (clean / 4 + rng.normal(0, 1500, len(clean))).astype(np.int16)
    assert loudness_range_db(clean) > 50
    assert loudness_range_db(noisy) < 15
    assert loudness_range_db(clean[:8000]) == 0


def test_two_steps_go_on_and_end_in_a_bundle_that_enhances(data_dir: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    spec = train_sound(data_dir, work_dir, SMALL)
    assert {"pesq", "pesq_in", "stoi", "si_sdr"} <= set(spec.card["scores"]["valid"])
    longer = replace(SMALL, sound=replace(SMALL.sound, n_steps=3))
    train_sound(data_dir, work_dir, longer)
    log = (work_dir / "avse-sound" / "log.jsonl").read_text(encoding="utf-8")
    assert log.count('"pesq"') == 2
    bundle = load_bundle(work_dir / "bundles" / "avse-sound")
    enhanced = Enhancer(bundle, device="cpu").enhance_file(data_dir / "train0.wav")
    assert not isinstance(enhanced, list)
    assert enhanced.report.path == "audio_only"
    assert enhanced.waveform.n_samples == 64_000


def test_a_fresh_run_begins_with_the_weights_of_an_earlier_one(
    data_dir: Path, tmp_path: Path
) -> None:
    train_sound(data_dir, tmp_path / "first", SMALL)
    bundles = tmp_path / "first" / "bundles"
    grown = replace(SMALL.sound.model, level_dilations=(1,))
    sound = replace(SMALL.sound, model=grown, learning_rate=0.0)
    still = replace(SMALL, start_from=str(bundles), sound=sound)
    train_sound(data_dir, tmp_path / "second", still)
    first, second = (
        load_bundle(tmp_path / name / "bundles" / "avse-sound").module.state_dict()
        for name in ("first", "second")
    )
    assert all(torch.equal(first[k], second[k]) for k in first if k.endswith("weight"))


def test_muon_intelligibility_and_a_phase_learn_from_the_first_step(
    data_dir: Path, tmp_path: Path
) -> None:
    model = replace(SMALL.sound.model, widths=(32, 4, 6, 6), phase_dilations=(1,), n_phase_bins=8)
    sound = replace(SMALL.sound, model=model, optimiser="muon", intelligibility_weight=1.0)
    train_sound(data_dir, tmp_path / "run", replace(SMALL, sound=sound))
    module = load_bundle(tmp_path / "run" / "bundles" / "avse-sound").module
    assert isinstance(module, SoundNet)
    assert module.phase.out_of.weight.any()


def test_without_clean_voices_it_says_what_it_expected(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="found 0 voices and 1 noises"):
        train_sound(data_dir, tmp_path / "run", replace(SMALL, least_range_db=200.0))
