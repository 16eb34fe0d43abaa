"""Reading clips: one clock, orientation, tracks, rates, channels."""

import gc
import struct
import zlib
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from preprocessing.errors import NoAudioStream
from preprocessing.media import open_clip, open_frames, probe, read_audio
from preprocessing.media_video import orientation_of
from tests.media_factory import (
    CODECS,
    ClipSpec,
    Codecs,
    click_times_s,
    flash_times_s,
    make_clip,
    make_sound,
)
from tests.server.corpus.making import picture_file, write_packets

CLICK_TOLERANCE_S = 0.002
NTSC = Fraction(30_000, 1001)
SPECS = {
    "plain": ClipSpec(),
    "late sound": ClipSpec(audio_start_s=0.25),
    "late picture": ClipSpec(video_start_s=0.2),
    "sound before zero": ClipSpec(audio_start_s=-0.3),
    "29.97": ClipSpec(fps=NTSC, events_s=(float(12 / NTSC), float(30 / NTSC))),
    "44.1 kHz": ClipSpec(rate_hz=44_100),
}


def _has_place_for(suffix: str, name: str) -> bool:
    """Whether the muxer can write such a clip: AVI has no stamps, Opus no 44.1 kHz."""
    if suffix == ".avi":
        return name in {"plain", "29.97", "44.1 kHz"}
    return name != "44.1 kHz" or CODECS[suffix].audio != "libopus"


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("name", SPECS)
def test_flash_and_click_come_back_at_the_same_instant(tmp_path, suffix, name):
    if not _has_place_for(suffix, name):
        pytest.skip("the container cannot hold this")
    spec = SPECS[name]
    clip = open_clip(make_clip(tmp_path / f"clip{suffix}", spec))
    flashes = flash_times_s(clip.video)
    assert len(flashes) == len(spec.events_s)
    assert click_times_s(clip.audio) == pytest.approx(flashes, abs=CLICK_TOLERANCE_S)
    assert clip.source.warnings == ()


@pytest.mark.parametrize("name", ["plain", "late sound", "late picture"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_each_stream_keeps_its_own_start(tmp_path, suffix, name):
    spec = SPECS[name]
    clip = open_clip(make_clip(tmp_path / f"clip{suffix}", spec))
    assert clip.video.start_s == pytest.approx(spec.video_start_s, abs=0.001)
    assert click_times_s(clip.audio) == pytest.approx(spec.events_s, abs=CLICK_TOLERANCE_S)


def test_variable_frame_rate_keeps_every_stamp(tmp_path):
    times_s = tuple(np.cumsum([0, *([0.02] * 20), *([0.1] * 5), *([1 / 30] * 20)]).tolist())
    spec = ClipSpec(frame_times_s=times_s, events_s=(times_s[5], times_s[24]))
    clip = open_clip(make_clip(tmp_path / "clip.mp4", spec))
    assert [frame.time_s for frame in clip.video] == pytest.approx(times_s, abs=0.001)
    assert click_times_s(clip.audio) == pytest.approx(flash_times_s(clip.video), abs=0.002)


def test_frames_are_streamed_and_can_be_read_again(tmp_path):
    clip = open_clip(make_clip(tmp_path / "clip.mp4"))
    first = [(frame.index, frame.time_s) for frame in clip.video]
    assert first == [(frame.index, frame.time_s) for frame in clip.video]
    assert [index for index, _ in first] == list(range(40))
    partial = iter(clip.video)
    next(partial)
    partial.close()
    assert clip.video.duration_s == pytest.approx(1.6)
    assert clip.video.fps_nominal == 25.0
    assert clip.video.n_damaged == 0


def _corner(time_s):
    """Red in the top left, green in the top right corner."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :16] = (255, 0, 0)
    image[:16, -16:] = (0, 255, 0)
    return image


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, rotation_deg):
    spec = ClipSpec(picture=_corner, rotation_deg=rotation_deg)
    frames = open_frames(make_clip(tmp_path / "clip.mp4", spec))
    image = next(iter(frames)).image
    expected = np.rot90(_corner(0.0), rotation_deg // 90)
    assert image.shape == expected.shape
    assert frames.size_px == (expected.shape[1], expected.shape[0])
    assert np.abs(image.astype(int) - expected).mean() < 12
    assert image.flags.c_contiguous


@pytest.mark.parametrize(
    ("codecs", "suffix", "size_px"),
    [
        (Codecs("libx264", "aac", "yuv420p10le"), ".mp4", (64, 48)),
        (Codecs("libx264", "aac", "yuv444p"), ".mp4", (65, 47)),
        (Codecs("ffv1", "flac", "bgra"), ".mkv", (33, 17)),
        (Codecs("mjpeg", "pcm_s16le", "yuvj420p"), ".mov", (2, 2)),
        (Codecs("prores_ks", "pcm_s24le", "yuv422p10le"), ".mov", (64, 48)),
        (Codecs("libvpx-vp9", "libopus", "yuv420p"), ".webm", (64, 48)),
    ],
)
def test_pixel_formats_and_odd_sizes(tmp_path, codecs, suffix, size_px):
    spec = ClipSpec(codecs=codecs, size_px=size_px, duration_s=0.8, events_s=(0.4,))
    clip = open_clip(make_clip(tmp_path / f"clip{suffix}", spec))
    assert clip.video.size_px == size_px
    assert flash_times_s(clip.video) == pytest.approx([0.4], abs=0.001)
    assert next(iter(clip.video)).image.dtype == np.uint8


def test_second_sound_track_can_be_chosen(tmp_path):
    path = make_clip(tmp_path / "clip.mkv", ClipSpec(n_audio_tracks=2))
    loud, soft = (open_clip(path, audio_track=i).audio.samples for i in (0, 1))
    assert np.abs(soft).max() == pytest.approx(0.5 * np.abs(loud).max(), rel=0.2)
    assert probe(path).n_audio_tracks == 2
    with pytest.raises(NoAudioStream, match="tracks 0 to 1"):
        open_clip(path, audio_track=2)


def test_cover_art_is_no_picture(tmp_path):
    spec = ClipSpec(has_video=False, has_cover=True, codecs=Codecs("", "aac"))
    clip = open_clip(make_clip(tmp_path / "clip.mp4", spec))
    assert clip.video is None
    assert not clip.source.has_video
    assert click_times_s(clip.audio) == pytest.approx(spec.events_s, abs=CLICK_TOLERANCE_S)


def test_sound_without_picture_is_a_clip(tmp_path):
    path = make_sound(tmp_path / "sound.wav", np.full(16_000, 0.1, np.float32))
    clip = open_clip(path)
    assert clip.video is None
    assert clip.source.container == "wav"
    assert clip.audio.n_samples == 16_000


def test_picture_without_sound(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", ClipSpec(n_audio_tracks=0))
    with pytest.raises(NoAudioStream):
        open_clip(path)
    assert len(flash_times_s(open_frames(path))) == 2


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_resampling_moves_no_click(tmp_path, rate_hz):
    times_s = np.arange(rate_hz) / rate_hz
    sound = 0.8 * np.exp(-(((times_s - 0.5) / 5e-4) ** 2))
    path = make_sound(tmp_path / "sound.wav", sound.astype(np.float32), rate_hz)
    audio = read_audio(path)
    assert audio.sample_rate_hz == 16_000
    assert audio.n_samples == pytest.approx(16_000, abs=1)
    assert click_times_s(audio, 1) == pytest.approx([0.5], abs=1e-4)
    native = read_audio(path, native=True)
    assert native.sample_rate_hz == rate_hz
    np.testing.assert_array_equal(native.samples, sound.astype(np.float32))


def test_stereo_is_the_mean_and_surround_follows_the_centre(tmp_path):
    stereo = np.stack([np.full(8_000, 0.5), np.full(8_000, 0.1)]).astype(np.float32)
    path = make_sound(tmp_path / "stereo.wav", stereo, layout="stereo")
    assert read_audio(path).samples == pytest.approx(0.3, abs=1e-6)
    surround = np.zeros((6, 8_000), np.float32)
    surround[2], surround[3] = 0.5, 0.9  # centre and bass
    path = make_sound(tmp_path / "surround.wav", surround, layout="5.1")
    level = float(read_audio(path).samples.mean())
    assert 0.5 / 5 < level < 0.5 / 3


def test_channels_that_cancel_leave_the_first(tmp_path):
    voice = np.sin(np.arange(8_000) * 0.1).astype(np.float32)
    path = make_sound(tmp_path / "sound.wav", np.stack([voice, -voice]), layout="stereo")
    clip = open_clip(path)
    np.testing.assert_allclose(clip.audio.samples, voice, atol=1e-6)
    assert "cancel" in clip.source.warnings[0]


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f64le"])
def test_full_scale_of_every_sample_format_is_one(tmp_path, codec):
    sound = np.linspace(-1.0, 0.9, 4_000).astype(np.float32)
    path = make_sound(tmp_path / "sound.wav", sound, codec=codec)
    np.testing.assert_allclose(read_audio(path).samples, sound, atol=1 / 100)


def test_not_a_number_becomes_silence_with_a_warning(tmp_path):
    sound = np.full(8_000, 0.1, np.float32)
    sound[[10, 20, 30]] = [np.nan, np.inf, -3e38]
    clip = open_clip(make_sound(tmp_path / "sound.wav", sound))
    assert np.isfinite(clip.audio.samples).all()
    assert clip.audio.samples[[10, 20, 30]].tolist() == [0.0, 0.0, 0.0]
    assert "not numbers" in clip.source.warnings[0]


def test_progress_reaches_the_end(tmp_path):
    seen = []
    path = make_clip(tmp_path / "clip.mp4")
    open_clip(path, progress=lambda stage, done, total: seen.append((stage, done, total)))
    assert seen[-1][0] == "sound"
    assert seen[-1][1] == pytest.approx(seen[-1][2], abs=0.1)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_fragmented_mp4(tmp_path):
    options = (("movflags", "frag_keyframe+empty_moov"),)
    spec = replace(ClipSpec(), muxer_options=options)
    clip = open_clip(make_clip(tmp_path / "clip.mp4", spec))
    assert click_times_s(clip.audio) == pytest.approx(flash_times_s(clip.video), abs=0.002)


@pytest.mark.parametrize("rotation_deg", [0, 90, 180, 270])
def test_a_png_is_turned_by_its_angle_alone(tmp_path, rotation_deg):
    spec = ClipSpec(rotation_deg=rotation_deg, codecs=Codecs("png", "aac", "rgb24"), events_s=())
    with av.open(str(make_clip(tmp_path / "clip.mov", spec))) as container:
        picture = next(container.decode(video=0))
        assert orientation_of(picture, "png") == orientation_of(picture, "h264")


def test_colour_profiles_are_not_touched(tmp_path):
    """PyAV 18 would free the name of each twice."""
    png = picture_file("png", "rgb24")
    body = b"iCCP" + b"name\0\0" + zlib.compress(bytes(3_000))
    profile = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    png = png[:33] + profile + png[33:]
    path = write_packets(tmp_path / "clip.mov", "png", [(png, 0.04 * n) for n in range(5)])
    assert sum(1 for _ in open_frames(path)) == 5
    gc.collect()
