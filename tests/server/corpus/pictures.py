"""Pictures of every kind: codecs, sizes, turns, depths, and files that are only a picture."""

import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

import av
import numpy as np

from preprocessing import errors
from preprocessing.types import PreparedClip
from tests.media_factory import ClipSpec, Codecs, make_clip
from tests.server.corpus.case import DAMAGED, FINE, UNREADABLE, Place, add, case
from tests.server.corpus.making import (
    SMALL,
    h264_picture,
    patched,
    picture_file,
    small,
    write_clip,
    write_packets,
)

QUICK = {"preset": "ultrafast"}


def _clip(spec: ClipSpec) -> Callable[[Place], object]:
    return lambda place: make_clip(place.path, spec)


for _turn in (90, 180, 270):
    add(f"rotated_{_turn}", ".mp4", _clip(replace(SMALL, rotation_deg=_turn)), FINE,
        has_video=True, n_pictures=15)  # fmt: skip


def _coded(
    codec: str, pix_fmt: str, size_px: tuple[int, int], options: dict[str, str], place: Place
) -> None:
    try:
        write_clip(place.path, codec, pix_fmt, size_px=size_px, options=options,
                   audio="libopus" if place.path.suffix == ".webm" else "pcm_s16le")  # fmt: skip
    finally:
        # For root, libsvtav1 leaves the thread that opens it in the real-time class: it and all
        # that it starts from then on would keep every other process off the processors.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


_X265 = "log-level=none:pools=1:frame-threads=1"
for _name, _suffix, _codec, _pix_fmt, _size, _options in (
    ("size_2x2", ".mov", "mjpeg", "yuvj420p", (2, 2), {}),
    ("size_1x1", ".mkv", "ffv1", "bgr0", (1, 1), {}),
    ("size_65x47", ".mov", "libx264", "yuv444p", (65, 47), QUICK),
    ("size_16x4000", ".mkv", "mjpeg", "yuvj420p", (16, 4_000), {}),
    ("size_4000x2", ".mkv", "mjpeg", "yuvj420p", (4_000, 2), {}),
    (
        "hdr_hevc",
        ".mov",
        "libx265",
        "yuv420p10le",
        (64, 64),
        {
            "preset": "ultrafast",
            "x265-params": f"{_X265}:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
        },
    ),
    ("ten_bit_h264", ".mkv", "libx264", "yuv420p10le", (64, 64), QUICK),
    ("twelve_bit", ".mkv", "ffv1", "yuv420p12le", (64, 64), {}),
    ("sixteen_bit_grey", ".mkv", "ffv1", "gray16le", (64, 64), {}),
    ("alpha_ffv1", ".mkv", "ffv1", "bgra", (64, 64), {}),
    (
        "alpha_vp9",
        ".webm",
        "libvpx-vp9",
        "yuva420p",
        (64, 64),
        {"deadline": "realtime", "cpu-used": "8"},
    ),
    ("alpha_prores", ".mov", "prores_ks", "yuva444p10le", (64, 64), {}),
    ("alpha_png", ".mov", "png", "rgba", (64, 64), {}),
    ("prores", ".mov", "prores_ks", "yuv422p10le", (64, 64), {}),
    ("av1", ".mkv", "libsvtav1", "yuv420p", (64, 64), {"preset": "12", "svtav1-params": "lp=1"}),
    ("vp8", ".webm", "libvpx", "yuv420p", (64, 64), {"deadline": "realtime", "cpu-used": "8"}),
    ("mjpeg", ".avi", "mjpeg", "yuvj422p", (64, 64), {}),
    ("mpeg4", ".avi", "mpeg4", "yuv420p", (64, 64), {}),
    ("mpeg2_interlaced", ".mkv", "mpeg2video", "yuv420p", (64, 64), {"flags": "+ildct+ilme"}),
    (
        "h264_interlaced",
        ".mkv",
        "libx264",
        "yuv420p",
        (64, 64),
        {"preset": "ultrafast", "x264-params": "tff=1"},
    ),
    (
        "h264_b_pictures",
        ".mkv",
        "libx264",
        "yuv420p",
        (64, 64),
        {"preset": "ultrafast", "x264-params": "bframes=3:b-adapt=0"},
    ),
    ("h263", ".mov", "h263", "yuv420p", (176, 144), {}),
    ("wmv", ".avi", "wmv2", "yuv420p", (64, 64), {}),
    ("dnxhr", ".mov", "dnxhd", "yuv422p", (256, 128), {"profile": "dnxhr_lb"}),
    ("qtrle", ".mov", "qtrle", "argb", (64, 64), {}),
    ("uncompressed", ".avi", "rawvideo", "bgr24", (64, 64), {}),
    ("huffyuv", ".avi", "huffyuv", "yuv422p", (64, 64), {}),
    ("grey", ".mkv", "libx264", "gray", (64, 64), QUICK),
    ("palette", ".mov", "qtrle", "gray", (64, 64), {}),
):
    add(_name, _suffix, partial(_coded, _codec, _pix_fmt, _size, _options), FINE,
        has_video=True, n_pictures=5, duration_s=0.2)  # fmt: skip

add("zmbv_is_not_taken", ".avi", partial(_coded, "zmbv", "bgr0", (64, 64), {}),
    errors.UnsupportedCodec)  # fmt: skip


@case("size_3840x2160", ".mp4", FINE, has_video=True, n_pictures=1)
def _(place: Place) -> None:
    write_clip(place.path, "mjpeg", "yuvj420p", size_px=(3840, 2160), n_pictures=1, audio="aac")


@case("size_8192x4320", ".mkv", errors.ResolutionLimit, FINE)
def _(place: Place) -> None:
    jpeg = patched(picture_file("mjpeg", "yuvj420p"), b"\xff\xc0", 3, b"\x10\xe0\x20\x00")
    write_packets(place.path, "mjpeg", [(jpeg, 0.0)], size_px=(8192, 4320))


@case("size_16384x8192_h264", ".ts", errors.ResolutionLimit, errors.Unreadable)
def _(place: Place) -> None:
    pictures = [(h264_picture(16_384, 8_192), 0.04 * index) for index in range(10)]
    write_packets(place.path, "h264", pictures)


@case("size_16384x8192_h264_said_to_be_16x16", ".avi", errors.ResolutionLimit, FINE, *DAMAGED)
def _(place: Place) -> None:
    pictures = [(h264_picture(16_384, 8_192), 0.04 * index) for index in range(10)]
    write_packets(place.path, "h264", pictures)


@case("size_65500x65500_jpeg_said_to_be_16x16", ".mkv", errors.ResolutionLimit, FINE, *DAMAGED)
def _(place: Place) -> None:
    jpeg = patched(picture_file("mjpeg", "yuvj420p"), b"\xff\xc0", 3, b"\xff\xdc\xff\xdc")
    write_packets(place.path, "mjpeg", [(jpeg, 0.04 * index) for index in range(10)])


@case("size_of_a_png_bomb", ".mov", errors.ResolutionLimit, FINE, *DAMAGED)
def _(place: Place) -> None:
    png = patched(picture_file("png", "rgb24"), b"IHDR", 0, b"\0\0\x75\x30\0\0\x75\x30")
    write_packets(place.path, "png", [(png, 0.04 * index) for index in range(10)])


@case("size_zero_said", ".mkv", FINE, *DAMAGED)
def _(place: Place) -> None:
    pictures = [(picture_file("mjpeg", "yuvj420p"), 0.04 * index) for index in range(5)]
    content = write_packets(place.path, "mjpeg", pictures).read_bytes()
    size = b"\xb0\x81\x10\xba\x81\x10"
    place.path.write_bytes(content.replace(size, size.replace(b"\x10", b"\0")))


@case("size_switch_mjpeg", ".mkv", FINE, has_video=True, n_pictures=12)
def _(place: Place) -> None:
    sizes = [(16, 16), (64, 48), (2, 2), (640, 360)]
    jpegs = [picture_file("mjpeg", "yuvj420p", size) for size in sizes]
    write_packets(place.path, "mjpeg", [(jpegs[n % 4], 0.04 * n) for n in range(12)])


@case("size_switch_to_beyond_the_limit", ".mkv", errors.ResolutionLimit, FINE)
def _(place: Place) -> None:
    jpegs = [picture_file("mjpeg", "yuvj420p", size) for size in ((16, 16), (3_600, 3_600))]
    write_packets(place.path, "mjpeg", [(jpegs[n > 5], 0.04 * n) for n in range(8)])


@case("size_switch_ts", ".ts", FINE, has_video=True)
def _(place: Place) -> None:
    parts = [
        small(place.path, size_px=size, muxer_options=(("output_ts_offset", offset),))
        for size, offset in (((64, 48), "0"), ((128, 96), "0.6"))
    ]
    place.path.write_bytes(b"".join(parts))


@case("codec_switch_ts", ".ts", FINE, *DAMAGED)
def _(place: Place) -> None:
    parts = [
        small(place.path, codecs=Codecs(codec, "aac"), muxer_options=(("output_ts_offset", off),))
        for codec, off in (("libx264", "0"), ("mpeg2video", "0.6"))
    ]
    place.path.write_bytes(b"".join(parts))


def _with_aspect(aspect: Fraction, size_px: tuple[int, int], place: Place) -> None:
    def adjust(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    write_clip(place.path, "mjpeg", "yuvj420p", size_px=size_px, n_pictures=2, adjust=adjust)


add("pixels_twice_as_wide", ".mkv", partial(_with_aspect, Fraction(2), (32, 64)), FINE,
    has_video=True)  # fmt: skip
add("pixels_1000_times_as_wide", ".mkv", partial(_with_aspect, Fraction(1000), (32, 64)), FINE,
    has_video=True)  # fmt: skip
add("pixels_4_times_as_wide_at_the_limit", ".mkv",
    partial(_with_aspect, Fraction(4), (3_000, 3_000)), errors.ResolutionLimit)  # fmt: skip


def _without_sound(codec: str, place: Place) -> None:
    make_clip(place.path, replace(SMALL, n_audio_tracks=0, codecs=Codecs(codec, "")))


add("no_sound_mp4", ".mp4", partial(_without_sound, "libx264"), errors.NoAudioStream)
add("no_sound_mkv", ".mkv", partial(_without_sound, "libx264"), errors.NoAudioStream)
add("no_sound_ts", ".ts", partial(_without_sound, "libx264"), errors.NoAudioStream)
add("no_sound_webm", ".webm", partial(_without_sound, "libvpx"), errors.NoAudioStream)
add("no_sound_flv", ".flv", partial(_without_sound, "flv"), errors.NoAudioStream)


def _file(codec: str, pix_fmt: str, place: Place) -> None:
    place.path.write_bytes(picture_file(codec, pix_fmt, (64, 48)))


for _name, _suffix, _codec, _pix_fmt in (
    ("jpeg", ".jpg", "mjpeg", "yuvj420p"),
    ("jpeg_called_mp4", ".mp4", "mjpeg", "yuvj420p"),
    ("png", ".png", "png", "rgba"),
    ("webp", ".webp", "libwebp", "yuv420p"),
    ("bmp", ".bmp", "bmp", "bgr24"),
    ("tiff", ".tiff", "tiff", "rgb24"),
):
    add(f"picture_{_name}", _suffix, partial(_file, _codec, _pix_fmt), *UNREADABLE)


@case("picture_gif_moving", ".gif", *UNREADABLE)
def _(place: Place) -> None:
    with av.open(str(place.path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "gray"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32), 80 * index, np.uint8), "gray")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@case("picture_avif", ".avif", errors.NoAudioStream, *UNREADABLE)
def _(place: Place) -> None:
    make_clip(place.path.with_name("part.mp4"), replace(SMALL, n_audio_tracks=0))
    content = place.path.with_name("part.mp4").read_bytes()
    place.path.write_bytes(content.replace(b"ftypisom", b"ftypavif"))


@case("raw_h264", ".h264", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(h264_picture(64, 64) * 10)


@case("y4m", ".y4m", *UNREADABLE)
def _(place: Place) -> None:
    frame = b"FRAME\n" + bytes(384)
    place.path.write_bytes(b"YUV4MPEG2 W16 H16 F25:1 Ip A1:1 C420\n" + 5 * frame)


@case("nut", ".nut", *UNREADABLE)
def _(place: Place) -> None:
    make_clip(place.path, replace(SMALL, codecs=Codecs("libx264", "pcm_s16le")))


@case("two_pictures_tracks", ".mkv", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    jpegs = [picture_file("mjpeg", "yuvj420p", size) for size in ((16, 16), (64, 48))]
    with av.open(str(place.path), "w") as container:
        tracks = [container.add_mux_stream("mjpeg", rate=25, width=w, height=h)
                  for w, h in ((16, 16), (64, 48))]  # fmt: skip
        sound = container.add_stream("pcm_s16le", rate=16_000)
        sound.layout = "mono"
        container.start_encoding()
        for index in range(10):
            for track, jpeg in zip(tracks, jpegs, strict=True):
                packet = av.Packet(jpeg)
                packet.stream, packet.time_base = track, Fraction(1, 1000)
                packet.pts = packet.dts = 40 * index
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.full((1, 9_600), 0.1, np.float32), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


@case("subtitles_and_attachments", ".mkv", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    _with_attachments(place, 3)


@case("attachments_20", ".mkv", errors.TooManyStreams)
def _(place: Place) -> None:
    _with_attachments(place, 20)


def _with_attachments(place: Place, n_files: int) -> None:
    jpeg = picture_file("mjpeg", "yuvj420p")
    with av.open(str(place.path), "w") as container:
        video = container.add_mux_stream("mjpeg", rate=25, width=16, height=16)
        sound = container.add_stream("pcm_s16le", rate=16_000)
        sound.layout = "mono"
        words = container.add_mux_stream("subrip")
        for index in range(n_files):
            container.add_attachment(f"../../etc/font{index}.ttf", "font/ttf", b"\0\1\0\0" * 20)
        container.start_encoding()
        for index in range(10):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base = video, Fraction(1, 1000)
            packet.pts = packet.dts = 40 * index
            container.mux(packet)
        packet = av.Packet(b"<script>alert(1)</script>")
        packet.stream, packet.time_base = words, Fraction(1, 1000)
        packet.pts, packet.dts, packet.duration = 100, 100, 200
        container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.full((1, 9_600), 0.1, np.float32), "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


@case("encrypted_mp4", ".mp4", FINE, *DAMAGED, errors.UnsupportedCodec)
def _(place: Place) -> None:
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    options = (
        ("encryption_scheme", "cenc-aes-ctr"), ("encryption_key", key), ("encryption_kid", key),
    )  # fmt: skip
    make_clip(place.path, replace(SMALL, muxer_options=options))


def _is_upright(clip: PreparedClip) -> None:
    assert clip.n_video_frames > 0


@case("display_matrix_of_nonsense", ".mp4", FINE, has_video=True, check=_is_upright)
def _(place: Place) -> None:
    content = small(place.path)
    place.path.write_bytes(patched(content, b"tkhd", 40, b"\x7f\xff\x12\x34" * 9))
