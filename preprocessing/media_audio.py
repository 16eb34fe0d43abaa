"""Sound of a clip: decoded by timestamp, mixed to mono and resampled block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.container import InputContainer
from numpy.typing import NDArray

from preprocessing.errors import NoAudioStream, TooLong, TooShort, UnsupportedCodec
from preprocessing.media_limits import BROADCASTS, MAX_RATE_HZ, MediaLimits
from preprocessing.media_mono import FirstChannel, MonoMix
from preprocessing.media_open import (
    PacketDecoder,
    choose_audio,
    clock_zero_s,
    container_duration_s,
    least_duration_s,
    open_container,
)
from preprocessing.types import Progress, Waveform, no_progress

FORWARD_JUMP_S = 10.0
BACKWARD_JUMP_S = 1.0
MAX_TOLERANCE_S = 0.010
SILENCE_BLOCK_SAMPLES = 65_536
AnyFrame = TypeVar("AnyFrame")


@dataclass(frozen=True, slots=True)
class DecodedSound:
    """Mono sound and what was noticed on the way.

    Attributes:
        waveform: The sound on the clip's clock.
        source_rate_hz: Its own rate, as decoded.
        n_channels: Its own channel count.
        warnings: Sentences about what was mended.
    """

    waveform: Waveform
    source_rate_hz: int
    n_channels: int
    warnings: tuple[str, ...]


def decode_sound(
    path: Path,
    *,
    rate_hz: int | None,
    limits: MediaLimits,
    audio_track: int = 0,
    progress: Progress = no_progress,
) -> DecodedSound:
    """Read one sound track as mono at `rate_hz` (None: its own rate).

    Raises:
        NoAudioStream: There is no such track, or it has too many channels.
        TooShort: Not one sample could be decoded.
        TooLong: It is longer than the limit.
        TooDamaged: Too many packets are damaged.
    """
    with open_container(path, limits) as container:
        expected_s = least_duration_s(container)
        if expected_s > limits.max_duration_s:
            raise TooLong(path, f"at most {limits.max_duration_s:g} s", f"{expected_s:.0f} s")
        builder = SoundBuilder(path, rate_hz, limits.max_duration_s)
        _fill(builder, container, limits, audio_track, progress)
    if builder.n_out == 0:
        raise TooShort(path, "sound", "a sound track without samples")
    if builder.mix.has_cancelled:
        builder = SoundBuilder(path, rate_hz, limits.max_duration_s, mix=FirstChannel())
        with open_container(path, limits) as container:
            _fill(builder, container, limits, audio_track, progress)
        builder.warn("phase", "the channels cancel each other, so the first one was taken")
    return builder.finish()


def _fill(
    builder: "SoundBuilder",
    container: InputContainer,
    limits: MediaLimits,
    audio_track: int,
    progress: Progress,
) -> None:
    stream = choose_audio(builder.path, container, audio_track)
    n_channels = stream.codec_context.channels
    if n_channels > limits.max_channels:
        found = f"{n_channels}"
        raise NoAudioStream(builder.path, f"at most {limits.max_channels} channels", found)
    decoder = PacketDecoder(builder.path, container, stream, limits)
    builder.is_broadcast = container.format.name in BROADCASTS
    zero_s, expected_s = clock_zero_s(container), container_duration_s(container)
    is_trimmed = container.format.name.startswith("mov")
    for frame, is_last in _with_last(decoder.frames()):
        assert isinstance(frame, AudioFrame)
        builder.add(frame, zero_s, _stated_samples(frame) if is_last and is_trimmed else None)
        progress("sound", builder.end_s, max(expected_s, builder.end_s))
    builder.flush()
    if decoder.n_damaged:
        found = f"{decoder.n_damaged} of {decoder.n_packets} sound packets"
        builder.warn("damaged", f"{found} were damaged and skipped")


def _with_last(frames: Iterator[AnyFrame]) -> Iterator[tuple[AnyFrame, bool]]:
    """Yield each frame and whether it is the last one."""
    held = next(frames, None)
    for frame in frames:
        assert held is not None
        yield held, False
        held = frame
    if held is not None:
        yield held, True


def _stated_samples(frame: AudioFrame) -> int | None:
    """Samples that the container says the block has: MP4 tells the padding of the end this way."""
    if frame.time_base is None or not frame.duration:
        return None
    return round(frame.duration * frame.time_base * frame.sample_rate)


@dataclass(slots=True)
class SoundBuilder:
    """Lays decoded blocks on a time line: gaps become silence, overlaps are cut.

    Attributes:
        path: The file, for messages.
        rate_hz: Output rate; None takes the first block's.
        max_duration_s: Longest sound accepted.
        mix: How channels become one.
        is_broadcast: Large forward steps of the stamps are jumps of the clock, not pauses.
        start_s: Time of the first sample on the clip's clock.
        end_s: Time after the last sample taken in.
    """

    path: Path
    rate_hz: int | None
    max_duration_s: float
    mix: MonoMix = field(default_factory=MonoMix)
    is_broadcast: bool = False
    start_s: float = 0.0
    end_s: float = 0.0
    n_out: int = 0
    n_channels: int = 0
    _source_rate_hz: int = 0
    _first_rate_hz: int = 0
    _shift_s: float | None = None
    _resampler: soxr.ResampleStream | None = None
    _out: bytearray = field(default_factory=bytearray)
    _warnings: dict[str, str] = field(default_factory=dict)

    def add(self, frame: AudioFrame, zero_s: float, n_samples: int | None = None) -> None:
        """Take in one decoded block whose stamps count from `zero_s`, at most `n_samples` of it.

        Raises:
            TooLong: The sound has become longer than the limit.
            UnsupportedCodec: Its rate is beyond all reason.
        """
        self._set_rate(frame.sample_rate)
        self.n_channels = max(self.n_channels, len(frame.layout.channels))
        mono, n_insane = self.mix(frame)
        if n_insane:
            self.warn("nan", "samples that are not numbers, or absurdly large, were set to zero")
        mono = mono[:n_samples]
        stamp_s = None if frame.pts is None else frame.time
        n_gap = self._gap_samples(stamp_s, zero_s, mono.shape[0])
        for n_silent in _blocks(max(0, n_gap)):
            self._push(np.zeros(n_silent, np.float32))
        self._push(mono[max(0, -n_gap) :])

    def _gap_samples(self, stamp_s: float | None, zero_s: float, n_block: int) -> int:
        """Samples between the end so far and a block; negative where they overlap."""
        if self._shift_s is None:
            self._shift_s = -zero_s
            self.start_s = self.end_s = 0.0 if stamp_s is None else stamp_s - zero_s
            return 0
        if stamp_s is None:
            return 0
        gap_s = stamp_s + self._shift_s - self.end_s
        if gap_s < -BACKWARD_JUMP_S or (self.is_broadcast and gap_s > FORWARD_JUMP_S):
            self._shift_s -= gap_s
            self.warn("jump", "the sound's timestamps jump; the parts were joined")
            return 0
        tolerance_s = min(MAX_TOLERANCE_S, 0.5 * n_block / self._source_rate_hz)
        if abs(gap_s) <= max(tolerance_s, 0.0015):
            return 0
        if gap_s > 0:
            self.warn("gap", "gaps in the sound were filled with silence")
        else:
            self.warn("overlap", "overlapping sound was trimmed")
        self._check_length(gap_s)
        return round(gap_s * self._source_rate_hz)

    def _check_length(self, more_s: float = 0.0) -> None:
        length_s = self.end_s + more_s - self.start_s
        if length_s > self.max_duration_s:
            raise TooLong(self.path, f"at most {self.max_duration_s:g} s", f"{length_s:.0f} s")

    def _set_rate(self, source_rate_hz: int) -> None:
        if source_rate_hz == self._source_rate_hz > 0:
            return
        if not 0 < source_rate_hz <= MAX_RATE_HZ:
            expected = f"at most {MAX_RATE_HZ} samples a second"
            raise UnsupportedCodec(self.path, expected, f"{source_rate_hz}")
        if self._source_rate_hz:
            self.flush()
            self.warn("rate", "the sound's rate changes on the way")
        self._source_rate_hz = source_rate_hz
        self._first_rate_hz = self._first_rate_hz or source_rate_hz
        self.rate_hz = self.rate_hz or source_rate_hz
        is_same = source_rate_hz == self.rate_hz
        self._resampler = None if is_same else _resampler(source_rate_hz, self.rate_hz)

    def _push(self, mono: NDArray[np.float32]) -> None:
        self.end_s += mono.shape[0] / self._source_rate_hz
        self._check_length()
        self._store(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def _store(self, mono: NDArray[np.float32]) -> None:
        self._out += np.ascontiguousarray(mono, np.float32).tobytes()
        self.n_out += mono.shape[0]

    def flush(self) -> None:
        """Take the last samples out of the resampler."""
        if self._resampler is not None:
            self._store(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None

    def warn(self, kind: str, sentence: str) -> None:
        """Keep one sentence of each kind."""
        self._warnings.setdefault(kind, sentence)

    def finish(self) -> DecodedSound:
        """Return everything that was taken in."""
        samples = np.frombuffer(self._out, np.float32)
        assert self.rate_hz is not None
        waveform = Waveform(samples, self.rate_hz, self.start_s)
        warnings = tuple(self._warnings.values())
        return DecodedSound(waveform, self._first_rate_hz, self.n_channels, warnings)


def _resampler(source_rate_hz: int, rate_hz: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(source_rate_hz, rate_hz, 1, dtype="float32", quality="VHQ")


def _blocks(n_samples: int) -> Iterator[int]:
    while n_samples > 0:
        yield min(n_samples, SILENCE_BLOCK_SAMPLES)
        n_samples -= SILENCE_BLOCK_SAMPLES
