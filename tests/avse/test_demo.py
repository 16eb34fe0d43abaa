import cv2
import numpy as np
import pytest

from avse.demo import SPEAKER, DemoConfig, make_demo_clip, run_demo
from avse.demo_face import MouthShape, _sway, draw_mouth, portrait, talking_frames
from avse.demo_voice import Voice, coloured_noise, speak
from avse.evaluation.metrics import score
from avse.types import EnhancedClip, EnhanceReport, Mask
from preprocessing.errors import OutputError
from preprocessing.media import open_clip
from preprocessing.media_make import make_clip
from preprocessing.types import Waveform

VOICE = Voice(pitch_hz=200.0, tract_scale=1.1)


def test_voice_is_repeatable_and_of_the_asked_length() -> None:
    first = speak(VOICE, 2.0, np.random.default_rng(3))
    again = speak(VOICE, 2.0, np.random.default_rng(3))
    other = speak(VOICE, 2.0, np.random.default_rng(4))
    assert first.samples.shape == (32_000,)
    assert first.openness.shape == first.width.shape == (50,)
    np.testing.assert_array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)
    assert np.sqrt(np.mean(first.samples**2)) == pytest.approx(0.1, rel=1e-3)


def test_the_mouth_opens_with_the_sound() -> None:
    speech = speak(VOICE, 8.0, np.random.default_rng(0))
    loudness = np.sqrt(np.mean(speech.samples.reshape(200, 640) ** 2, axis=1))
    assert np.corrcoef(loudness, speech.openness)[0, 1] > 0.5
    assert speech.openness.min() >= 0.0
    assert speech.openness.max() > 2.0


def test_noise_has_more_bass_than_treble() -> None:
    noise = coloured_noise(16_000, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert power[100:1000].mean() > 3 * power[4000:7000].mean()


def test_only_the_mouth_moves_with_the_lips() -> None:
    image = portrait()
    x, y = _sway(0.0)
    closed, wide = (draw_mouth(image, x, y, MouthShape(gap, 1.0)) for gap in (0.0, 2.5))
    changed = np.abs(closed.astype(int) - wide).max(axis=2) > 8
    rows, columns = np.nonzero(changed)
    assert 0.45 * 480 < rows.min() < rows.max() < 0.8 * 480
    assert 0.3 * 480 < columns.min() < columns.max() < 0.75 * 480


def test_the_dark_gap_grows_with_openness() -> None:
    image = portrait()
    x, y = _sway(0.0)
    gaps = []
    for openness in (0.0, 1.5, 2.0, 2.5):
        mouth = draw_mouth(image, x, y, MouthShape(openness, 1.0))[270:330, 190:290]
        gaps.append(int((mouth.max(axis=2) < 70).sum()))
    assert gaps == sorted(gaps)
    assert gaps[-1] > gaps[0] + 300


def test_a_rounded_mouth_is_narrower() -> None:
    image = portrait()
    x, y = _sway(0.0)
    widths = []
    for width in (0.6, 1.0):
        mouth = draw_mouth(image, x, y, MouthShape(2.5, width))[270:330, 190:290]
        columns = np.nonzero((mouth.max(axis=2) < 70).any(axis=0))[0]
        widths.append(columns.max() - columns.min())
    assert widths[0] < 0.85 * widths[1]


def test_clip_is_in_sync_and_holds_the_truth(tmp_path) -> None:
    calls = []
    config = DemoConfig(duration_s=1.2)
    made = make_demo_clip(tmp_path / "n.mp4", config, lambda *call: calls.append(call))
    clip = open_clip(made.path)
    assert clip.video is not None
    frames = list(clip.video)
    assert len(frames) == 30
    assert frames[0].time_s == pytest.approx(0.0, abs=1e-3)
    assert frames[0].image.shape == (480, 480, 3)
    assert calls[-1] == ("drawing", 30, 30)
    n_samples = min(made.clean.n_samples, clip.audio.n_samples)
    clean, noisy = made.clean.samples[:n_samples], clip.audio.samples[:n_samples]
    lags = np.correlate(noisy, clean, mode="full")
    assert abs(int(lags.argmax()) - (n_samples - 1)) <= 8
    before = score(clean, noisy, metrics=("si_sdr_db",))["si_sdr_db"]
    assert before is not None
    assert -3 < before < 6
    assert [path.name for path in tmp_path.iterdir()] == ["n.mp4"]


def test_hd_clip_has_hd_size(tmp_path) -> None:
    made = make_demo_clip(tmp_path / "hd.mp4", DemoConfig(duration_s=0.2, is_hd=True))
    video = open_clip(made.path).video
    assert video is not None
    assert video.size_px == (1280, 720)


def test_clip_that_cannot_be_written_leaves_nothing(tmp_path) -> None:
    sound = Waveform(np.zeros(1600, np.float32), 16_000)
    frames = list(talking_frames(np.ones(2), np.ones(2)))
    with pytest.raises(OutputError):
        make_clip(tmp_path / "no" / "clip.mp4", frames, 25, sound)
    assert list(tmp_path.iterdir()) == []


class PerfectEnhancer:
    """Gives the clean voice away, to test what is around the network."""

    def __init__(self, bundle, device="auto") -> None:
        assert bundle == "some-bundle"
        assert device == "cpu"

    def enhance_file(self, path, out=None, options=None, progress=None):
        clip = open_clip(path)
        pad = clip.audio.n_samples - 16_000
        samples = np.pad(speak(SPEAKER, 1.0, np.random.default_rng(0)).samples, (0, max(0, pad)))
        wave = Waveform(samples[: clip.audio.n_samples], 16_000)
        mask = Mask(np.ones((321, 100), np.float32))
        report = EnhanceReport("some-bundle@1", "cpu", 1, 1, 1.0, 1.0, "av", None)
        out.write_bytes(b"")
        return EnhancedClip(wave, mask, report)


def test_demo_scores_what_the_enhancer_gave(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("avse.demo.Enhancer", PerfectEnhancer)
    result = run_demo(tmp_path, DemoConfig(duration_s=1.0), "some-bundle", "cpu")
    assert {path.name for path in result.files} == {
        "noisy.mp4", "enhanced.mp4", "enhanced.wav", "enhanced.png",
    }  # fmt: skip
    assert all(path.is_file() for path in result.files)
    before, after = result.before["si_sdr_db"], result.after["si_sdr_db"]
    assert before is not None
    assert after is not None
    assert after > 60
    assert before < 10
    picture = cv2.imread(str(tmp_path / "enhanced.png"))
    assert picture is not None


def test_demo_runs_on_what_ships(tmp_path) -> None:
    result = run_demo(tmp_path, DemoConfig(duration_s=1.6), device="cpu")
    report = result.enhanced.report
    assert report.path == "av"
    assert report.n_tracks == 1
    assert report.face_s == pytest.approx(1.6, abs=0.1)
    assert abs(report.sync_offset_ms) < 20  # half a frame
    assert result.enhanced.waveform.n_samples == open_clip(result.files[0]).audio.n_samples
    assert open_clip(result.files[1]).source.has_video
