"""Bad, hostile and damaged files: one clear error each, or what can be saved of them."""

import contextlib
import http.server
import os
import threading
import wave

import numpy as np
import pytest

from preprocessing import errors
from preprocessing.media import MediaLimits, open_clip, open_frames, read_audio
from tests.media_factory import (
    ClipSpec,
    Codecs,
    click_times_s,
    flash_times_s,
    flip_bytes,
    make_clip,
    make_sound,
    truncate,
)


def test_missing_file_folder_and_device(tmp_path):
    for path in (tmp_path / "nothing.mp4", tmp_path, "http://127.0.0.1/a.mp4", "concat:a|b"):
        with pytest.raises(errors.MissingFile):
            open_clip(path)


@pytest.mark.parametrize("suffix", [".mp4", ".wav", ".webm", ".m3u8"])
def test_empty_and_random_files(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, 50_000, np.uint8).tobytes()
    for content in (b"", b"\0" * 5_000, b"hello", noise):
        path.write_bytes(content)
        with pytest.raises((errors.Unreadable, errors.UnsupportedContainer)):
            open_clip(path)


@pytest.fixture
def web():
    """A server that counts requests, which must stay at zero."""
    seen = []

    class Counter(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Counter)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/a.ts", seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("suffix", [".m3u8", ".mp4", ".mpd", ".sdp", ".svg", ".txt"])
def test_files_that_point_elsewhere_open_nothing(tmp_path, web, suffix):
    url, seen = web
    neighbour = make_sound(tmp_path / "neighbour.wav", np.zeros(16_000, np.float32))
    bodies = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
        for target in (url, neighbour, "neighbour.wav")
    ]
    bodies += [f"ffconcat version 1.0\nfile '{target}'\n" for target in (url, "neighbour.wav")]
    bodies.append(f'<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>')
    bodies.append("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\nc=IN IP4 127.0.0.1\n")
    for body in bodies:
        path = tmp_path / f"clip{suffix}"
        path.write_text(body)
        with pytest.raises((errors.Unreadable, errors.UnsupportedContainer)):
            open_clip(path)
    assert seen == []


def test_content_decides_and_not_the_name(tmp_path):
    path = make_sound(tmp_path / "sound.wav", np.full(16_000, 0.1, np.float32))
    disguised = path.rename(tmp_path / "list%03d.m3u8")
    assert open_clip(disguised).source.container == "wav"


def test_picture_file_is_not_a_clip(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for suffix in (".jpg", ".png", ".gif"):
        path = tmp_path / f"picture{suffix}"
        cv2.imwrite(str(path), np.zeros((16, 16, 3), np.uint8))
        with pytest.raises(errors.UnsupportedContainer):
            open_clip(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_permission(tmp_path):
    path = make_clip(tmp_path / "clip.mp4")
    path.chmod(0)
    with pytest.raises(errors.Unreadable, match="permission"):
        open_clip(path)


def test_truncated_clips(tmp_path):
    with pytest.raises(errors.Unreadable):
        open_clip(truncate(make_clip(tmp_path / "no_index.mp4"), 0.6))
    for suffix in (".mkv", ".ts", ".avi"):
        clip = open_clip(truncate(make_clip(tmp_path / f"clip{suffix}"), 0.6))
        assert 0.3 < clip.audio.duration_s < 1.7
        assert sum(1 for _ in clip.video) > 10


def test_damaged_packets_are_skipped_and_counted(tmp_path):
    spec = ClipSpec(codecs=Codecs("png", "pcm_s16le", "rgb24"), picture=_noise)
    path = make_clip(tmp_path / "clip.avi", spec)
    assert sum(1 for _ in open_frames(path)) == 40
    content = path.read_bytes()
    starts = [i for i in range(len(content)) if content.startswith(b"IHDR", i)]
    flip_bytes(path, [starts[k] + 8 for k in (10, 20, 30)])
    frames = open_frames(path)
    assert sum(1 for _ in frames) == 37
    assert frames.n_damaged == 3
    limits = MediaLimits(max_damaged_packets=2, max_damaged_share=0.0)
    with pytest.raises(errors.TooDamaged, match="3 damaged of"):
        list(open_frames(path, limits=limits))


def _noise(time_s):
    return np.random.default_rng(round(1000 * time_s)).integers(0, 256, (48, 64, 3), np.uint8)


def test_undecodable_picture_leaves_the_sound(tmp_path):
    spec = ClipSpec(codecs=Codecs("png", "pcm_s16le", "rgb24"), picture=_noise)
    path = make_clip(tmp_path / "clip.avi", spec)
    content = path.read_bytes().replace(b"IHDR", b"IHXR")
    path.write_bytes(content)
    clip = open_clip(path)
    assert clip.video is None
    assert "picture was left out" in clip.source.warnings[-1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv"])
def test_flipped_bytes_end_in_a_clip_or_a_media_error(tmp_path, suffix, seed):
    path = make_clip(tmp_path / f"clip{suffix}")
    positions = np.random.default_rng(seed).integers(0, path.stat().st_size, 30)
    flip_bytes(path, positions.tolist())
    try:
        clip = open_clip(path)
    except errors.MediaError:
        return
    assert np.isfinite(clip.audio.samples).all()
    with contextlib.suppress(errors.MediaError):
        assert sum(1 for _ in clip.video or ()) <= 60


def test_too_short(tmp_path):
    path = make_sound(tmp_path / "sound.wav", np.zeros(100, np.float32))
    with pytest.raises(errors.TooShort):
        open_clip(path)
    assert read_audio(path).n_samples == 100
    with wave.open(str(tmp_path / "empty.wav"), "wb") as empty:
        empty.setparams((1, 2, 16_000, 0, "NONE", ""))
    with pytest.raises(errors.TooShort):
        open_clip(tmp_path / "empty.wav")


def test_silence_is_fine(tmp_path):
    clip = open_clip(make_sound(tmp_path / "sound.flac", np.zeros(16_000), codec="flac"))
    assert not clip.audio.samples.any()
    assert clip.source.warnings == ()


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (MediaLimits(max_duration_s=1.0), errors.TooLong),
        (MediaLimits(max_pixels=64 * 47), errors.ResolutionLimit),
        (MediaLimits(max_fps=24.0), errors.FrameRateLimit),
        (MediaLimits(max_streams=1), errors.TooManyStreams),
        (MediaLimits(max_channels=0), errors.NoAudioStream),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".flv"])
def test_limits(tmp_path, suffix, limits, error):
    path = make_clip(tmp_path / f"clip{suffix}")
    with pytest.raises(error):
        open_clip(path, limits=limits)


def test_lying_length_is_found_while_decoding(tmp_path):
    sound = np.zeros(16_000 * 5, np.float32)
    path = make_sound(tmp_path / "sound.ogg", sound, codec="libopus")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(errors.TooLong):
        open_clip(path, limits=MediaLimits(max_duration_s=2.0))


def test_many_streams_are_counted(tmp_path):
    codecs = Codecs("", "pcm_s16le")
    spec = ClipSpec(n_audio_tracks=40, has_video=False, codecs=codecs, duration_s=0.1)
    path = make_clip(tmp_path / "clip.mkv", spec)
    with pytest.raises(errors.TooManyStreams, match="found 40"):
        open_clip(path)


def test_unknown_codec_is_refused(tmp_path):
    spec = ClipSpec(codecs=Codecs("zmbv", "pcm_s16le", "bgr0"))
    with pytest.raises(errors.UnsupportedCodec, match="zmbv"):
        open_clip(make_clip(tmp_path / "clip.avi", spec))


def test_gap_in_the_sound_becomes_silence(tmp_path):
    path = make_clip(tmp_path / "clip.ts", ClipSpec(events_s=(0.2, 1.4)))
    content = path.read_bytes()
    packets = [content[i : i + 188] for i in range(0, len(content), 188)]
    sound_pid = 0x101
    pids = [((packet[1] & 0x1F) << 8) | packet[2] for packet in packets]
    n_sound = pids.count(sound_pid)
    seen = 0
    kept = []
    for pid, packet in zip(pids, packets, strict=True):
        seen += pid == sound_pid
        if pid != sound_pid or not 0.3 * n_sound < seen < 0.6 * n_sound:
            kept.append(packet)
    path.write_bytes(b"".join(kept))
    clip = open_clip(path)
    assert any("gaps" in warning for warning in clip.source.warnings)
    assert click_times_s(clip.audio) == pytest.approx(flash_times_s(clip.video), abs=0.002)
