"""Time: offsets, jumps, gaps, rates of pictures, clips without end."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from preprocessing import errors
from preprocessing.types import PreparedClip
from tests.media_factory import ClipSpec, Codecs, make_clip, make_sound
from tests.server.corpus.case import DAMAGED, FINE, Place, add, case
from tests.server.corpus.making import (
    SMALL,
    flac_of_silence,
    made,
    picture_file,
    small,
    tone,
    write_packets,
)

DAY_S = 86_400.0


def _clip(spec: ClipSpec) -> Callable[[Place], object]:
    return lambda place: make_clip(place.path, spec)


def _starts(sound_s: float) -> Callable[[PreparedClip], None]:
    def check(clip: PreparedClip) -> None:
        assert clip.audio.start_s == pytest.approx(sound_s, abs=0.05)

    return check


add("late_sound", ".mp4", _clip(replace(SMALL, audio_start_s=0.3)), FINE,
    has_video=True, duration_s=0.3, check=_starts(0.3))  # fmt: skip
add("late_sound_mkv", ".mkv", _clip(replace(SMALL, audio_start_s=0.3)), FINE,
    has_video=True, duration_s=0.3, check=_starts(0.3))  # fmt: skip
add("late_picture", ".mp4", _clip(replace(SMALL, video_start_s=0.3)), FINE,
    has_video=True, duration_s=0.6, check=_starts(0.0))  # fmt: skip
add("negative_start", ".mp4", _clip(replace(SMALL, audio_start_s=-0.3)), FINE,
    has_video=True, duration_s=0.6)  # fmt: skip
add("negative_picture", ".mkv", _clip(replace(SMALL, video_start_s=-0.2)), FINE, has_video=True)
add("sound_after_the_picture", ".mp4",
    _clip(replace(SMALL, duration_s=2.0, audio_start_s=1.0, events_s=(1.2,),
                  frame_times_s=(0.0, 0.04, 0.08))),
    FINE, has_video=True, n_pictures=3)  # fmt: skip
add("picture_after_the_sound", ".mp4",
    _clip(replace(SMALL, frame_times_s=(5.0, 5.04, 5.08))), FINE,
    has_video=True, n_pictures=3)  # fmt: skip
_VFR_S = tuple(np.cumsum([0.0, *([0.02] * 8), 0.2, *([0.033] * 8)]).tolist())
add("vfr", ".mp4", _clip(replace(SMALL, frame_times_s=_VFR_S)), FINE,
    has_video=True, n_pictures=18)  # fmt: skip
add("vfr_mkv", ".mkv", _clip(replace(SMALL, frame_times_s=_VFR_S)), FINE,
    has_video=True, n_pictures=18)  # fmt: skip
add("one_picture", ".mp4", _clip(replace(SMALL, frame_times_s=(0.0,))), FINE, n_pictures=1)
add("one_picture_late", ".webm", _clip(replace(SMALL, frame_times_s=(0.5,))), FINE)
add("ntsc", ".mp4", _clip(replace(SMALL, fps=Fraction(30_000, 1001))), FINE, has_video=True)
add("fps_1", ".mp4", _clip(replace(SMALL, fps=Fraction(1), duration_s=2.0)), FINE,
    has_video=True, n_pictures=2)  # fmt: skip
add("fps_120", ".mp4", _clip(replace(SMALL, fps=Fraction(120), duration_s=0.2)), FINE,
    has_video=True, n_pictures=24)  # fmt: skip
for _fps in (121, 240, 1000):
    add(f"fps_{_fps}", ".mp4", _clip(replace(SMALL, fps=Fraction(_fps), duration_s=0.15)),
        errors.FrameRateLimit)  # fmt: skip
add("fps_1000_mkv", ".mkv", _clip(replace(SMALL, fps=Fraction(1000), duration_s=0.1)),
    errors.FrameRateLimit)  # fmt: skip
add("fps_1000_avi", ".avi", _clip(replace(SMALL, fps=Fraction(1000), duration_s=0.1)),
    errors.FrameRateLimit)  # fmt: skip

_JPEG = picture_file("mjpeg", "yuvj420p")


@case("pictures_all_at_once", ".mkv", errors.FrameRateLimit)
def _(place: Place) -> None:
    write_packets(place.path, "mjpeg", [(_JPEG, 0.0)] * 300)


@case("picture_of_24_h", ".mkv", errors.TooLong)
def _(place: Place) -> None:
    write_packets(place.path, "mjpeg", [(_JPEG, hour * 3600.0) for hour in range(25)])


@case("picture_of_24_h_live", ".mkv", errors.TooLong)
def _(place: Place) -> None:
    content = _live(place, [(_JPEG, 0.0), (_JPEG, 0.5), (_JPEG, DAY_S)])
    place.path.write_bytes(content)


def _live(place: Place, pictures: list[tuple[bytes, float]]) -> bytes:
    """The clip without the lengths that a file written in one go does not know."""
    content = write_packets(place.path, "mjpeg", pictures).read_bytes()
    return content.replace(b"\x44\x89\x88", b"\xec\x88\x88")


@case("sound_of_24_h_adts", ".aac", errors.TooLong)
def _(place: Place) -> None:
    """One block of silence, over and over."""
    content = make_sound(place.path, np.zeros(16_000), 8_000, codec="aac").read_bytes()
    size = (content[3] & 3) << 11 | content[4] << 3 | content[5] >> 5
    block = content[size : size + ((content[size + 3] & 3) << 11 | content[size + 4] << 3
                                   | content[size + 5] >> 5)]  # fmt: skip
    place.path.write_bytes(block * round(DAY_S * 8_000 / 1024))


@case("sound_of_24_h_flac", ".flac", errors.TooLong)
def _(place: Place) -> None:
    place.path.write_bytes(flac_of_silence(DAY_S, 8_000, 8))


@case("sound_of_2_min_flac_bomb", ".flac", errors.TooLong)
def _(place: Place) -> None:
    place.path.write_bytes(flac_of_silence(120.0, 192_000, 8))


@case("sound_of_61_s", ".flac", errors.TooLong)
def _(place: Place) -> None:
    place.path.write_bytes(flac_of_silence(61.5, 8_000, 1))


@case("sound_with_a_gap_of_24_h", ".mka", errors.TooLong)
def _(place: Place) -> None:
    _with_gap(place, DAY_S)


@case("sound_with_a_gap_of_3_s", ".mka", FINE, duration_s=3.6, warning="gaps")
def _(place: Place) -> None:
    _with_gap(place, 3.0)


@case("sound_with_a_gap_of_10_h_mp4", ".m4a", errors.TooLong)
def _(place: Place) -> None:
    _with_gap(place, 36_000.0)


def _with_gap(place: Place, gap_s: float) -> None:
    with av.open(str(place.path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        stream.layout = "mono"
        frames = []
        for index in range(28):
            block = tone(0.6, 48_000)[None, 1024 * index : 1024 * (index + 1)]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", "mono")
            frame.sample_rate, frame.time_base = 48_000, Fraction(1, 48_000)
            frame.pts = 1024 * index
            frames += stream.encode(frame)
        for index, packet in enumerate([*frames, *stream.encode(None)]):
            shift = round(gap_s / packet.time_base) if index > 14 else 0
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            container.mux(packet)


def _stream_at(place: Place, start_s: float, **changes: object) -> bytes:
    return small(place.path, muxer_options=(("output_ts_offset", str(start_s)),), **changes)


@case("jump_forwards_ts", ".ts", FINE, has_video=True)
def _(place: Place) -> None:
    place.path.write_bytes(_stream_at(place, 0.0) + _stream_at(place, 20_000.0))


@case("jump_back_ts", ".ts", FINE, has_video=True)
def _(place: Place) -> None:
    place.path.write_bytes(_stream_at(place, 20_000.0) + _stream_at(place, 3.0))


@case("clock_wraps_ts", ".ts", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(_stream_at(place, 2**33 / 90_000 - 1.7))


@case("jumps_many_ts", ".ts", FINE, has_video=True)
def _(place: Place) -> None:
    starts_s = (0.0, 50_000.0, 7.0, 90_000.0, 300.0)
    place.path.write_bytes(b"".join(_stream_at(place, start_s) for start_s in starts_s))


@case("stamps_from_2_h", ".mkv", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(_stream_at(place, 7_200.0))


@case("stamps_from_2_h_ts", ".ts", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(_stream_at(place, 7_200.0))


add("fragmented_mp4", ".mp4",
    _clip(replace(SMALL, muxer_options=(("movflags", "frag_keyframe+empty_moov"),))), FINE,
    has_video=True, duration_s=0.6, n_pictures=15)  # fmt: skip
add("fragmented_mp4_default_base", ".mp4",
    _clip(replace(SMALL, muxer_options=(
        ("movflags", "frag_every_frame+empty_moov+default_base_moof+separate_moof"),))), FINE,
    has_video=True, n_pictures=15)  # fmt: skip
add("live_webm", ".webm", _clip(replace(SMALL, muxer_options=(("live", "1"),))), FINE,
    has_video=True, duration_s=0.6, n_pictures=15)  # fmt: skip
add("live_mkv", ".mkv", _clip(replace(SMALL, muxer_options=(("live", "1"),))), FINE,
    has_video=True, duration_s=0.6, n_pictures=15)  # fmt: skip


@case("live_webm_cut_off", ".webm", FINE, has_video=True)
def _(place: Place) -> None:
    content = made(place.path, replace(SMALL, muxer_options=(("live", "1"),)))
    place.path.write_bytes(content[: int(0.8 * len(content))])


@case("fragmented_mp4_cut_off", ".mp4", FINE, has_video=True)
def _(place: Place) -> None:
    options = (("movflags", "frag_every_frame+empty_moov"),)
    content = made(place.path, replace(SMALL, muxer_options=options))
    place.path.write_bytes(content[: int(0.8 * len(content))])


@case("pictures_out_of_order", ".mp4", FINE, has_video=True, n_pictures=15)
def _(place: Place) -> None:
    spec = replace(SMALL, codecs=Codecs("mpeg4", "aac"))
    make_clip(place.path, spec)


@case("sound_of_nothing_beside_pictures", ".mkv", errors.TooShort, errors.NoAudioStream)
def _(place: Place) -> None:
    sound = np.zeros(0, np.float32)
    make_clip(place.path, replace(SMALL, sound=sound, codecs=Codecs("libx264", "pcm_s16le")))


@case("no_pictures_in_the_track", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    make_clip(place.path, replace(SMALL, frame_times_s=(), events_s=()))


@case("sound_only_from_5_h", ".mka", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(_stream_at(place, 18_000.0, suffix=".mkv", has_video=False))
