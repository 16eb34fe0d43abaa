"""Archives, bombs, pickles, programs and files that are two things at once."""

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import av
import numpy as np

from preprocessing import errors
from tests.media_factory import ClipSpec, Codecs, make_clip, make_sound
from tests.server.corpus.case import DAMAGED, FINE, UNREADABLE, Place, add, case, written
from tests.server.corpus.making import (
    RATE_HZ,
    id3,
    pcm16,
    picture_file,
    small,
    tone,
    wav,
    write_tone,
)

_GOOD_WAV = wav(pcm16(tone()))


def _zipped(content: bytes, name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


@case("zip_of_a_sound", ".zip", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(_zipped(_GOOD_WAV, "../../etc/sound.wav"))


@case("zip_bomb", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    inner = _zipped(bytes(4_000_000), "a")
    place.path.write_bytes(_zipped(inner * 40, "b"))


@case("gzip_bomb", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(gzip.compress(bytes(8_000_000), 1))


@case("gzip_of_a_sound", ".wav.gz", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(gzip.compress(_GOOD_WAV))


@case("zlib_movie_header_bomb", ".mov", *DAMAGED)
def _(place: Place) -> None:
    """A compressed index (`cmov`) that unpacks to much more than it is."""
    packed = zlib.compress(bytes(8_000_000), 1)
    cmvd = struct.pack(">I4sI", 12 + len(packed), b"cmvd", 0xFFFFFFF) + packed
    dcom = struct.pack(">I4s4s", 12, b"dcom", b"zlib")
    cmov = struct.pack(">I4s", 8 + len(dcom) + len(cmvd), b"cmov") + dcom + cmvd
    moov = struct.pack(">I4s", 8 + len(cmov), b"moov") + cmov
    place.path.write_bytes(b"\0\0\0\x10ftypqt  \0\0\2\0" + moov)


@case("mkv_zlib_bomb", ".mkv", FINE, *DAMAGED)
def _(place: Place) -> None:
    content = small(place.path)
    bomb = zlib.compress(bytes(4_000_000), 1)
    place.path.write_bytes(content[:200] + b"\xec" + struct.pack(">Q", 1 << 56 | len(bomb)) + bomb)


@case("tar", ".tar", *UNREADABLE)
def _(place: Place) -> None:
    with tarfile.open(place.path, "w") as archive:
        entry = tarfile.TarInfo("../../sound.wav")
        entry.size = len(_GOOD_WAV)
        archive.addfile(entry, io.BytesIO(_GOOD_WAV))


class _Opens:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self._marker, "w"))


@case("pickle", ".pkl", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(pickle.dumps(_Opens(place.marker)))


@case("pickle_called_mp4", ".mp4", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(pickle.dumps(_Opens(place.marker), protocol=0))


@case("torch_file", ".pt", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(_zipped(pickle.dumps(_Opens(place.marker)), "archive/data.pkl"))


@case("numpy_of_objects", ".npy", *UNREADABLE)
def _(place: Place) -> None:
    packed = io.BytesIO()
    np.save(packed, np.array([_Opens(place.marker)], object), allow_pickle=True)
    place.path.write_bytes(packed.getvalue())


add("program_elf", ".mp4", written(b"\x7fELF\2\1\1" + bytes(4_000)), *UNREADABLE)
add("program_windows", ".exe", written(b"MZ\x90\0" + bytes(4_000)), *UNREADABLE)
add("script", ".mp4", written("#!/bin/sh\ntouch /tmp/x\n"), *UNREADABLE)
add("pdf", ".pdf", written(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n" * 100), *UNREADABLE)
add("php", ".php.mp4", written("<?php system($_GET['a']); ?>" * 50), *UNREADABLE)
add("midi", ".mid", written(b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"), *UNREADABLE)
add("flash", ".swf", written(b"FWS\x09" + struct.pack("<I", 2_000) + bytes(2_000)), *UNREADABLE)
add("sound_then_zip", ".wav", written(_GOOD_WAV + _zipped(b"x", "a")), FINE, duration_s=0.6)
add("sound_then_program", ".wav", written(_GOOD_WAV + b"\x7fELF" + bytes(999)), FINE,
    duration_s=0.6)  # fmt: skip
add("zip_then_sound", ".wav", written(_zipped(b"x", "a") + _GOOD_WAV), *UNREADABLE)


@case("mp4_then_zip", ".mp4", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path) + _zipped(b"x", "a"))


@case("mp4_with_a_page_inside", ".mp4", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    page = b"<script>alert(1)</script>#EXTM3U\n" + place.url.encode()
    place.path.write_bytes(small(place.path) + struct.pack(">I4s", 8 + len(page), b"free") + page)


@case("jpeg_then_mp3", ".mp3", FINE, *DAMAGED)
def _(place: Place) -> None:
    path = make_sound(place.path, tone(), codec="libmp3lame")
    path.write_bytes(picture_file("mjpeg", "yuvj420p") + path.read_bytes())


@case("gif_and_program", ".gif", *UNREADABLE)
def _(place: Place) -> None:
    place.path.write_bytes(b"GIF89a/*" + bytes(2_000) + b"*/=1;alert(1)")


@case("mp4_then_wav", ".wav", FINE, has_video=True)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path, ".mp4") + _GOOD_WAV)


@case("wav_with_mp3_tag_in_front", ".wav", FINE, *DAMAGED)
def _(place: Place) -> None:
    place.path.write_bytes(id3(500) + _GOOD_WAV)


@case("wav_of_wav", ".wav", FINE, duration_s=0.62)
def _(place: Place) -> None:
    place.path.write_bytes(wav(_GOOD_WAV))


@case("title_with_headers", ".mp4", FINE, has_video=False)
def _(place: Place) -> None:
    with av.open(str(place.path), "w") as container:
        container.metadata["title"] = "a\r\nSet-Cookie: b=c\r\n\r\n<script>\0../../etc/passwd"
        container.metadata["comment"] = "\u202e\ufffe\ud7ff" * 2_000
        stream = container.add_stream("aac", rate=48_000)
        stream.layout = "mono"
        write_tone(container, stream, 0.6)


@case("title_not_utf8", ".wav", FINE, duration_s=0.6)
def _(place: Place) -> None:
    text = b"INAM" + struct.pack("<I", 400) + b"\xff\xfe\x80\xc3" * 100
    chunk = b"LIST" + struct.pack("<I", 4 + len(text)) + b"INFO" + text
    place.path.write_bytes(_GOOD_WAV + chunk)


@case("wav_with_a_million_chunks", ".wav", FINE, *DAMAGED, duration_s=0.6)
def _(place: Place) -> None:
    head, tail = _GOOD_WAV[:12], _GOOD_WAV[12:]
    place.path.write_bytes(head + b"junk\0\0\0\0" * 250_000 + tail)


@case("mp4_with_a_million_boxes", ".mp4", FINE, *DAMAGED)
def _(place: Place) -> None:
    place.path.write_bytes(b"\0\0\0\x08free" * 250_000 + small(place.path))


@case("ts_with_200_programs", ".ts", FINE, *DAMAGED, errors.TooManyStreams)
def _(place: Place) -> None:
    """The table of programs names many that are not there."""
    content = small(place.path)
    entries = b"".join(struct.pack(">HH", n + 2, 0xE000 | (0x200 + n)) for n in range(40))
    section = b"\0\xb0" + bytes([9 + len(entries)]) + b"\0\1\xc1\0\0" + entries + bytes(4)
    packet = b"\x47\x40\0\x10\0" + section
    place.path.write_bytes(packet + b"\xff" * (188 - len(packet)) + content)


@case("sound_that_becomes_60_tracks", ".flv", FINE, *DAMAGED, errors.TooManyStreams)
def _(place: Place) -> None:
    content = small(place.path)
    tags = b"".join(bytes([kind]) + bytes(10) + bytes(4) for kind in range(3, 60))
    place.path.write_bytes(content[:13] + tags + content[13:])


@case("opus_of_zero_length_packets", ".ogg", FINE, *DAMAGED)
def _(place: Place) -> None:
    path = make_sound(place.path, tone(0.6, 48_000), 48_000, codec="libopus")
    content = bytearray(path.read_bytes())
    second = content.index(b"OggS", 4)
    third = content.index(b"OggS", second + 4)
    content[third + 27 : third + 40] = bytes(13)
    path.write_bytes(content)


@case("vorbis_without_headers", ".ogg", *DAMAGED)
def _(place: Place) -> None:
    head = b"\1vorbis" + struct.pack("<IBIiiiB", 0, 2, RATE_HZ, 0, 0, 0, 0xB8) + b"\1"
    page = b"OggS\0\2" + bytes(8) + b"\1\0\0\0" + bytes(8) + b"\1" + bytes([len(head)]) + head
    place.path.write_bytes(page * 3)


@case("webm_with_a_wav_name", ".wav", FINE, has_video=True, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(small(place.path, ".webm"))


@case("sound_with_a_picture_name", ".jpg", FINE, has_video=False, duration_s=0.6)
def _(place: Place) -> None:
    place.path.write_bytes(_GOOD_WAV)


@case("mkv_of_60_covers", ".mkv", errors.TooManyStreams)
def _(place: Place) -> None:
    spec = ClipSpec(duration_s=0.2, events_s=(), has_video=False, codecs=Codecs("", "pcm_s16le"))
    part = make_clip(place.path.with_name("part.mkv"), spec)
    jpeg = picture_file("mjpeg", "yuvj420p")
    with av.open(str(part)) as source, av.open(str(place.path), "w") as container:
        stream = container.add_stream_from_template(source.streams.audio[0])
        for index in range(60):
            container.add_attachment(f"cover{index}.jpg", "image/jpeg", jpeg)
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    part.unlink()
