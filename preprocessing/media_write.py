"""Writing sound files and putting new sound under a picture; every write is atomic."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from preprocessing.errors import OutputError
from preprocessing.types import Waveform

logger = logging.getLogger(__name__)

BLOCK_SAMPLES = 65_536
FALLBACK_RATE_HZ = 48_000
_OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
_MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_RATES_HZ = (*_MP3_RATES_HZ, 64_000, 88_200, 96_000)
_FULL_SCALE = 32_768.0
_STEM_LENGTH = 40


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How sound is encoded for one kind of file.

    Attributes:
        container: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        rates_hz: Rates it takes; empty takes all. Another rate is resampled to 48 kHz.
        bit_rate: Bits per second, 0 for lossless.
    """

    container: str
    codec: str
    rates_hz: tuple[int, ...] = ()
    bit_rate: int = 0


SOUND_FORMATS = {
    ".wav": SoundFormat("wav", "pcm_s16le"),
    ".flac": SoundFormat("flac", "flac"),
    ".mp3": SoundFormat("mp3", "libmp3lame", _MP3_RATES_HZ, 128_000),
    ".opus": SoundFormat("opus", "libopus", _OPUS_RATES_HZ, 64_000),
    ".ogg": SoundFormat("ogg", "libopus", _OPUS_RATES_HZ, 64_000),
    ".m4a": SoundFormat("ipod", "aac", _AAC_RATES_HZ, 96_000),
}
"""Sound files by suffix; WAV and FLAC hold 16-bit samples and exactly those given."""

VIDEO_FORMATS = {
    ".mp4": SoundFormat("mp4", "aac", _AAC_RATES_HZ, 96_000),
    ".m4v": SoundFormat("mp4", "aac", _AAC_RATES_HZ, 96_000),
    ".mov": SoundFormat("mov", "aac", _AAC_RATES_HZ, 96_000),
    ".webm": SoundFormat("webm", "libopus", _OPUS_RATES_HZ, 64_000),
    ".mkv": SoundFormat("matroska", "libopus", _OPUS_RATES_HZ, 64_000),
}
"""Sound under a picture, by the suffix of the file."""


def write_audio(path: Path | str, waveform: Waveform) -> None:
    """Write a sound file; the suffix names the format.

    A sound that passes full scale is turned down as a whole, with a warning in the log: it is
    never clipped. `waveform.start_s` is not written, as sound files have no clock.

    Raises:
        OutputError: The suffix is unknown, or the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    sound_format = format_for(path, SOUND_FORMATS)
    with atomic_file(path) as part, open_output(part, sound_format) as container:
        encoder = SoundEncoder(container, sound_format, waveform, start_s=0.0)
        for packet in encoder.packets():
            container.mux(packet)


def format_for(path: Path, formats: dict[str, SoundFormat]) -> SoundFormat:
    """Look up the format of a file by its suffix.

    Raises:
        OutputError: The suffix is not one of `formats`.
    """
    try:
        return formats[path.suffix.lower()]
    except KeyError as error:
        found = f"'{path.suffix}'" if path.suffix else "a name without a suffix"
        raise OutputError(path, f"a name that ends in {', '.join(formats)}", found) from error


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a new name beside `path`; it takes the place of `path` only if all goes well.

    Raises:
        OutputError: The folder is missing or the system refuses the write.
    """
    if not path.parent.is_dir():
        raise OutputError(path, "an existing folder", f"no folder {path.parent}")
    if path.is_dir():
        raise OutputError(path, "a file name", "a folder")
    name = f".{path.stem[:_STEM_LENGTH]}.{secrets.token_hex(6)}.part{path.suffix}"
    part = path.with_name(name)
    try:
        yield part
        os.replace(part, path)
    except (OSError, FFmpegError) as error:
        raise OutputError(path, "a file that can be written", _reason(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _reason(error: OSError | FFmpegError) -> str:
    return (error.strerror or str(error)).lower()


def open_output(part: Path, sound_format: SoundFormat) -> OutputContainer:
    """Open a muxer on a temporary name."""
    options = {}
    if sound_format.container in {"mp4", "mov", "ipod"}:
        options = {"movflags": "+faststart", "movie_timescale": str(FALLBACK_RATE_HZ)}
    return av.open(
        f"file:{part}", mode="w", format=sound_format.container, container_options=options
    )


class SoundEncoder:
    """Encodes one waveform block by block into a stream of an open container."""

    def __init__(
        self,
        container: OutputContainer,
        sound_format: SoundFormat,
        waveform: Waveform,
        start_s: float,
    ) -> None:
        """Add the stream; the first sample is presented at `start_s` on the output's clock."""
        waveform = _at_accepted_rate(waveform, sound_format)
        self._waveform = waveform
        self._gain = _safe_gain(waveform.samples)
        self._is_integer = sound_format.bit_rate == 0
        self._first_pts = round(start_s * waveform.sample_rate_hz)
        self._n_sent = 0
        self._is_flushed = False
        stream = container.add_stream(sound_format.codec, rate=waveform.sample_rate_hz)
        assert isinstance(stream, AudioStream)
        self._stream = stream
        self._stream.layout = "mono"
        if sound_format.bit_rate:
            self._stream.bit_rate = sound_format.bit_rate
        if self._is_integer:
            self._stream.format = "s16"

    def packets(self, until_s: float = float("inf")) -> Iterator[Packet[AudioStream]]:
        """Yield encoded packets until the given time on the output's clock."""
        rate_hz = self._waveform.sample_rate_hz
        while self._n_sent < self._waveform.n_samples:
            if (self._first_pts + self._n_sent) / rate_hz > until_s:
                return
            yield from self._stream.encode(self._next_block())
        if not self._is_flushed:
            self._is_flushed = True
            yield from self._stream.encode(None)

    def _next_block(self) -> AudioFrame:
        block = self._waveform.samples[self._n_sent : self._n_sent + BLOCK_SAMPLES] * self._gain
        if self._is_integer:
            frame = AudioFrame.from_ndarray(_as_int16(block)[None], "s16", "mono")
        else:
            frame = AudioFrame.from_ndarray(block[None].astype(np.float32), "flt", "mono")
        frame.sample_rate = self._waveform.sample_rate_hz
        frame.time_base = Fraction(1, self._waveform.sample_rate_hz)
        frame.pts = self._first_pts + self._n_sent
        self._n_sent += block.shape[0]
        return frame


def _at_accepted_rate(waveform: Waveform, sound_format: SoundFormat) -> Waveform:
    rate_hz = waveform.sample_rate_hz
    if not sound_format.rates_hz or rate_hz in sound_format.rates_hz:
        return waveform
    samples = soxr.resample(waveform.samples, rate_hz, FALLBACK_RATE_HZ, quality="VHQ")
    return Waveform(samples.astype(np.float32, copy=False), FALLBACK_RATE_HZ, waveform.start_s)


def _safe_gain(samples: NDArray[np.float32]) -> np.float32:
    """Gain that keeps the loudest sample within full scale; 1 where it already is."""
    starts = range(0, samples.shape[0], BLOCK_SAMPLES)
    peak = max((float(np.abs(samples[i : i + BLOCK_SAMPLES]).max()) for i in starts), default=0.0)
    if peak <= 1.0:
        return np.float32(1.0)
    logger.warning("the sound peaks at %.2f times full scale and was turned down", peak)
    return np.float32(1.0 / peak)


def _as_int16(block: NDArray[np.float32]) -> NDArray[np.int16]:
    """Round to 16 bits; samples that came from 16 bits return unchanged."""
    scaled = np.rint(block * _FULL_SCALE)
    whole: NDArray[np.int16] = scaled.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    return whole
