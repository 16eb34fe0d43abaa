"""Writing: exact lengths, no clipping, sync kept, nothing half-written."""

import os
from fractions import Fraction

import numpy as np
import pytest

from preprocessing import errors
from preprocessing.media import open_clip, open_frames, read_audio, remux_with_audio, write_audio
from preprocessing.types import Waveform
from tests.media_factory import ClipSpec, Codecs, click_times_s, flash_times_s, make_clip

NTSC = Fraction(30_000, 1001)


def _tone(n_samples, rate_hz=16_000, peak=0.5):
    samples = peak * np.sin(2 * np.pi * 440 * np.arange(n_samples) / rate_hz)
    return Waveform(samples.astype(np.float32), rate_hz)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("n_samples", [1, 159, 16_001, 150_000])
def test_lossless_files_hold_exactly_the_samples(tmp_path, suffix, n_samples):
    path = tmp_path / f"sound{suffix}"
    whole = np.random.default_rng(0).integers(-32_768, 32_768, n_samples)
    sound = Waveform((whole / 32_768).astype(np.float32), 16_000)
    write_audio(path, sound)
    np.testing.assert_array_equal(read_audio(path).samples, sound.samples)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".mp3", ".opus", ".ogg", ".m4a"])
@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 96_000])
def test_lossy_files_keep_length_and_place(tmp_path, suffix, rate_hz):
    n_samples = 2 * rate_hz + 77
    times_s = np.arange(n_samples) / rate_hz
    sound = sum(0.8 * np.exp(-(((times_s - event_s) / 3e-4) ** 2)) for event_s in (0.5, 1.5))
    path = tmp_path / f"sound{suffix}"
    write_audio(path, Waveform(sound.astype(np.float32), rate_hz))
    back = read_audio(path)
    assert back.duration_s == pytest.approx(n_samples / rate_hz, abs=2e-4)
    assert click_times_s(back) == pytest.approx([0.5, 1.5], abs=5e-4)


def test_loud_sound_is_turned_down_and_not_clipped(tmp_path, caplog):
    loud = _tone(16_000, peak=2.0)
    write_audio(tmp_path / "sound.wav", loud)
    back = read_audio(tmp_path / "sound.wav").samples
    np.testing.assert_allclose(back, 0.5 * loud.samples, atol=1e-4)
    assert "turned down" in caplog.text


def test_start_does_not_change_a_sound_file(tmp_path):
    write_audio(tmp_path / "sound.wav", Waveform(np.zeros(100, np.float32), 16_000, 3.0))
    assert read_audio(tmp_path / "sound.wav").n_samples == 100


@pytest.mark.parametrize("write", [write_audio, lambda path, w: remux_with_audio("none", w, path)])
@pytest.mark.parametrize("name", ["sound", "sound.txt", "sound.exe"])
def test_unknown_suffix(tmp_path, write, name):
    with pytest.raises(errors.OutputError, match="a name that ends in"):
        write(tmp_path / name, _tone(100))


def test_unwritable_places(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(errors.OutputError, match="no folder"):
        write_audio(tmp_path / "missing" / "sound.wav", _tone(100))
    with pytest.raises(errors.OutputError, match="a folder"):
        write_audio(tmp_path / "folder.wav", _tone(100))
    with pytest.raises(errors.OutputError, match="no such file"):
        write_audio(f"/proc/{os.getpid()}/sound.wav", _tone(100))
    assert os.listdir(tmp_path) == ["folder.wav"]


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "sound.wav"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("preprocessing.media_write.os.replace", fail)
    with pytest.raises(errors.OutputError, match="no space left"):
        write_audio(path, _tone(100))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["sound.wav"]


REMUX_SPECS = {
    "plain": ClipSpec(),
    "late sound": ClipSpec(audio_start_s=0.25),
    "late picture": ClipSpec(video_start_s=0.2),
    "sound before zero": ClipSpec(audio_start_s=-0.3),
    "29.97": ClipSpec(fps=NTSC, events_s=(float(12 / NTSC), float(30 / NTSC))),
    "two tracks": ClipSpec(n_audio_tracks=2),
}


@pytest.mark.parametrize("name", REMUX_SPECS)
@pytest.mark.parametrize(
    ("source_suffix", "suffix"),
    [(".mp4", ".mp4"), (".mkv", ".mkv"), (".webm", ".webm"), (".ts", ".mp4")],
)
def test_new_sound_stays_in_sync(tmp_path, source_suffix, suffix, name):
    source = make_clip(tmp_path / f"source{source_suffix}", REMUX_SPECS[name])
    clip = open_clip(source)
    out = tmp_path / f"out{suffix}"
    remux_with_audio(source, clip.audio, out)
    back = open_clip(out)
    assert back.source.n_audio_tracks == 1
    times_s, back_times_s = ([frame.time_s for frame in c.video] for c in (clip, back))
    assert back_times_s == pytest.approx(times_s, abs=0.0011)
    assert click_times_s(back.audio) == pytest.approx(click_times_s(clip.audio), abs=0.002)
    assert click_times_s(back.audio) == pytest.approx(flash_times_s(back.video), abs=0.0025)
    end_s, back_end_s = (c.audio.start_s + c.audio.duration_s for c in (clip, back))
    assert back_end_s == pytest.approx(end_s, abs=0.002)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_sound_before_zero_moves_both(tmp_path, suffix):
    source = make_clip(tmp_path / f"source{suffix}")
    clip = open_clip(source)
    early = Waveform(np.pad(clip.audio.samples, (8_000, 0)), 16_000, clip.audio.start_s - 0.5)
    remux_with_audio(source, early, tmp_path / f"out{suffix}")
    back = open_clip(tmp_path / f"out{suffix}")
    assert back.video.start_s == pytest.approx(0.5, abs=0.001)
    assert click_times_s(back.audio) == pytest.approx(flash_times_s(back.video), abs=0.002)


def test_b_frames_are_copied(tmp_path):
    source = tmp_path / "source.mkv"
    codecs = Codecs("mpeg4", "libopus")
    make_clip(source, ClipSpec(codecs=codecs))
    remux_with_audio(source, open_clip(source).audio, tmp_path / "out.mp4")
    assert flash_times_s(open_frames(tmp_path / "out.mp4")) == pytest.approx([0.4, 1.2], abs=0.001)


def test_rotation_survives(tmp_path):
    source = make_clip(tmp_path / "source.mp4", ClipSpec(rotation_deg=90))
    remux_with_audio(source, open_clip(source).audio, tmp_path / "out.mp4")
    assert open_frames(tmp_path / "out.mp4").size_px == (48, 64)


def test_result_may_take_the_place_of_the_source(tmp_path):
    source = make_clip(tmp_path / "clip.mp4")
    remux_with_audio(source, open_clip(source).audio, source)
    assert len(flash_times_s(open_clip(source).video)) == 2


@pytest.mark.parametrize(("source_suffix", "suffix"), [(".mp4", ".webm"), (".webm", ".mov")])
def test_container_that_cannot_hold_the_picture(tmp_path, source_suffix, suffix):
    source = make_clip(tmp_path / f"source{source_suffix}")
    with pytest.raises(errors.OutputError, match="a picture codec that"):
        remux_with_audio(source, open_clip(source).audio, tmp_path / f"out{suffix}")
    assert os.listdir(tmp_path) == [source.name]


def test_no_picture_to_copy(tmp_path):
    write_audio(tmp_path / "sound.wav", _tone(16_000))
    with pytest.raises(errors.OutputError, match="sound-only"):
        remux_with_audio(tmp_path / "sound.wav", _tone(16_000), tmp_path / "out.mp4")
