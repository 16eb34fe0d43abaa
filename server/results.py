"""The files of an enhancement: voice, picture with the voice, input, mask; in a decode child."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from avse.highband import at_input_rate
from avse.inference import TOP_BAND_HZ
from avse.types import EnhancedClip
from preprocessing.errors import MediaError, OutputError
from preprocessing.media import MediaLimits, read_audio, remux_with_audio, write_audio
from preprocessing.timeline import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from preprocessing.types import PreparedClip, Progress, Waveform
from server.enhanced_file import ENHANCED, read_enhanced
from server.failures import has_no_room
from server.prepared_file import PREPARED, read_prepared
from server.spool import INPUT
from server.time_span import cut_sound, drop_lead

VARIANTS = ("audio", "input_audio", "mask", "video")
VIDEO_SUFFIXES = (".mp4", ".mkv")
_BLOCK_FRAMES = 4096


@dataclass(frozen=True, slots=True)
class ResultSource:
    """Everything the files are made of.

    Attributes:
        folder: The job's folder.
        options: The job's options, with `variants` and `lead_samples`.
        limits: What the source may ask for.
        prepared: The clip that went in.
        enhanced: What the network made of it, at 16 kHz.
        progress: Told by stage.
        warnings: Sentences about what could not be made.
    """

    folder: Path
    options: Mapping[str, Any]
    limits: MediaLimits
    prepared: PreparedClip
    enhanced: EnhancedClip
    progress: Progress
    warnings: list[str] = field(default_factory=list)

    @property
    def source(self) -> Path:
        """The uploaded file."""
        return self.folder / INPUT

    @property
    def lead_samples(self) -> int:
        """Samples at the start that were only there to keep step with the pictures."""
        return int(self.options.get("lead_samples", 0))


def write_results(
    folder: Path, options: Mapping[str, Any], limits: MediaLimits, progress: Progress
) -> dict[str, Any]:
    """Write the wanted variants; returns `outputs` (file names), `warnings` and `stage_s`.

    A picture is only there where the clip has one; asked for by `output=mp4`, it has to be.

    Raises:
        OutputError: A file cannot be written.
        MediaError: The source cannot be read again.
    """
    start = time.perf_counter()
    prepared = read_prepared(folder / PREPARED, folder / INPUT)
    enhanced = read_enhanced(folder / ENHANCED)
    made = ResultSource(folder, options, limits, prepared, enhanced, progress)
    progress("encode", 0.0, 1.0)
    voice = voice_of(made)
    peak = float(np.abs(voice.samples).max(initial=0.0))
    if peak > 1.0:
        made.warnings.append(f"the voice peaked at {peak:.2f} times full scale and was turned down")
    wanted = [variant for variant in VARIANTS if variant in options["variants"]]
    outputs: dict[str, str] = {}
    stage_s = {"encode": time.perf_counter() - start, "mux": 0.0}
    for number, variant in enumerate(wanted):
        start = time.perf_counter()
        name = _WRITERS[variant](made, voice)
        if name is not None:
            outputs[variant] = name
        stage = "mux" if variant == "video" else "encode"
        stage_s[stage] += time.perf_counter() - start
        progress(stage, number + 1, len(wanted))
    return {"outputs": outputs, "warnings": made.warnings, "stage_s": stage_s}


def voice_of(made: ResultSource) -> Waveform:
    """The voice at the wanted rate, from the wanted start.

    Above 16 kHz the source's own high band joins it, as in `avse.highband`.
    """
    rate_hz = wanted_rate_hz(made)
    sound = made.enhanced.waveform
    if rate_hz > SAMPLE_RATE_HZ and made.prepared.source.audio_rate_hz > SAMPLE_RATE_HZ:
        native = _native(made)
        sound = at_input_rate(native, sound, top_gain(made.enhanced, _strength(made)))
    return drop_lead(_resampled(sound, rate_hz), made.lead_samples)


def wanted_rate_hz(made: ResultSource) -> int:
    """The rate that the options name: a number, or `input` for the source's own."""
    wanted = made.options.get("sample_rate") or SAMPLE_RATE_HZ
    return made.prepared.source.audio_rate_hz if wanted == "input" else int(wanted)


def top_gain(enhanced: EnhancedClip, strength: float) -> NDArray[np.float32]:
    """`[T]` mean of the applied mask from 7 to 8 kHz, as the network's run gives it."""
    if enhanced.mask is None:
        return np.ones(1, np.float32)
    top_bin = round(TOP_BAND_HZ * WINDOW_SAMPLES / SAMPLE_RATE_HZ)
    top = enhanced.mask.values[top_bin:].astype(np.float32)
    return np.asarray((1.0 - strength * (1.0 - top)).mean(axis=0), np.float32)


def _strength(made: ResultSource) -> float:
    strength = made.options.get("strength")
    return 1.0 if strength is None else float(strength)


def _native(made: ResultSource) -> Waveform:
    """The source's sound at its own rate, over the span of the result."""
    track = int(made.options.get("audio_track") or 0)
    whole = read_audio(made.source, native=True, limits=made.limits, audio_track=track)
    sound = made.enhanced.waveform
    return cut_sound(whole, sound.start_s, sound.duration_s)


def _resampled(sound: Waveform, rate_hz: int) -> Waveform:
    if sound.sample_rate_hz == rate_hz:
        return sound
    samples = soxr.resample(sound.samples, sound.sample_rate_hz, rate_hz, quality="VHQ")
    return Waveform(samples.astype(np.float32, copy=False), rate_hz, sound.start_s)


def _write_voice(made: ResultSource, voice: Waveform) -> str:
    wanted = made.options.get("output") or "wav"
    name = f"output.{'wav' if wanted == 'mp4' else wanted}"
    write_audio(made.folder / name, voice)
    return name


def _write_video(made: ResultSource, voice: Waveform) -> str | None:
    """The picture copied with the voice under it: MP4, or MKV where MP4 cannot hold the picture.

    Raises:
        OutputError: `output=mp4` was asked for and is not possible.
    """
    is_asked = made.options.get("output") == "mp4"
    if not made.prepared.source.has_video:
        if is_asked:
            raise OutputError(made.folder / "video.mp4", "a picture", "a file without one")
        return None
    for suffix in VIDEO_SUFFIXES[:1] if is_asked else VIDEO_SUFFIXES:
        name = f"video{suffix}"
        try:
            remux_with_audio(
                made.source, voice, made.folder / name, limits=made.limits, progress=_mux(made)
            )
        except MediaError as error:
            if is_asked or has_no_room(error):
                raise
            reason = f"expected {error.expected}, found {error.found}"
        else:
            return name
    made.warnings.append(f"no video was made: {reason}")
    return None


def _mux(made: ResultSource) -> Progress:
    return lambda _, done, total: made.progress("mux", done, total)


def _write_input(made: ResultSource, voice: Waveform) -> str:
    """The sound that went in, at the rate and over the span of the voice, for comparison."""
    if voice.sample_rate_hz > SAMPLE_RATE_HZ:
        sound = _resampled(_native(made), voice.sample_rate_hz)
    else:
        sound = _resampled(made.prepared.audio, voice.sample_rate_hz)
    write_audio(made.folder / "input_audio.wav", drop_lead(sound, made.lead_samples))
    return "input_audio.wav"


def _write_mask(made: ResultSource, voice: Waveform) -> str | None:
    if made.enhanced.mask is None:
        return None
    track_id = made.enhanced.report.target_track_id
    mouth = None if track_id is None else made.prepared.mouths.get(track_id)
    seen = None if made.enhanced.report.path == "audio_only" else mouth
    shown = EnhancedClip(made.enhanced.waveform, made.enhanced.mask, made.enhanced.report, seen)
    plots = import_module("avse.plots")  # slow to import, and only jobs need it
    plots.plot_enhancement(made.prepared.audio, shown, made.folder / "mask.png")
    return "mask.png"


_WRITERS: dict[str, Callable[[ResultSource, Waveform], str | None]] = {
    "audio": _write_voice,
    "video": _write_video,
    "input_audio": _write_input,
    "mask": _write_mask,
}
