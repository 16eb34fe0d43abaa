"""A part of a clip, from `start` to `end` on its clock, in step with its pictures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from preprocessing.errors import TooShort
from preprocessing.timeline import (
    SAMPLE_RATE_HZ,
    SAMPLES_PER_VIDEO_FRAME,
    VIDEO_FPS,
    WINDOW_SAMPLES,
    n_video_frames,
)
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, Waveform


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The wanted part, seconds on the clip's clock; None: from the sound's start, to its end."""

    start_s: float | None = None
    end_s: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut."""
        return not self.start_s and self.end_s is None


def span_of(options: Mapping[str, Any]) -> TimeSpan:
    """The span that a job's options name."""
    start, end = options.get("start"), options.get("end")
    return TimeSpan(None if start is None else float(start), None if end is None else float(end))


def cut_prepared(clip: PreparedClip, span: TimeSpan) -> tuple[PreparedClip, int]:
    """The wanted part of a prepared clip.

    The cut lies on a picture's edge (40 ms), at or before the wanted start: mouths and sound stay
    in step.

    Returns:
        The part, and how many of its first samples lie before the wanted start.

    Raises:
        TooShort: The clip has (almost) no sound there.
    """
    if span.is_whole:
        return clip, 0
    n_samples = clip.audio.n_samples
    wanted = 0 if span.start_s is None else _sample_at(clip.audio, span.start_s)
    end = n_samples if span.end_s is None else _sample_at(clip.audio, span.end_s)
    if end - wanted < WINDOW_SAMPLES:
        expected = f"at least {1000 * WINDOW_SAMPLES // SAMPLE_RATE_HZ} ms between start and end"
        raise TooShort(clip.source.path, expected, f"a clip of {clip.audio.duration_s:.2f} s")
    first_picture = wanted // SAMPLES_PER_VIDEO_FRAME
    first = first_picture * SAMPLES_PER_VIDEO_FRAME
    start_s = clip.audio.start_s + first / SAMPLE_RATE_HZ
    audio = Waveform(clip.audio.samples[first:end].copy(), SAMPLE_RATE_HZ, start_s)
    pictures = slice(first_picture, first_picture + n_video_frames(audio.n_samples))
    tracks = [_cut_track(track, start_s, start_s + audio.duration_s) for track in clip.tracks]
    kept = tuple(track for track in tracks if track is not None)
    mouths = {
        track.track_id: _cut_mouth(clip.mouths[track.track_id], pictures)
        for track in kept
        if track.track_id in clip.mouths
    }
    return replace(clip, audio=audio, tracks=kept, mouths=mouths), wanted - first


def _sample_at(sound: Waveform, time_s: float) -> int:
    """The sample at a time on the clip's clock, within the sound."""
    sample = round((time_s - sound.start_s) * sound.sample_rate_hz)
    return min(max(0, sample), sound.n_samples)


def cut_sound(sound: Waveform, start_s: float, duration_s: float) -> Waveform:
    """The part of a sound from `start_s` on the clip's clock, as long as there is sound."""
    rate_hz = sound.sample_rate_hz
    first = _sample_at(sound, start_s)
    samples = sound.samples[first : first + math.ceil(duration_s * rate_hz)]
    return Waveform(samples, rate_hz, sound.start_s + first / rate_hz)


def drop_lead(sound: Waveform, lead_samples: int) -> Waveform:
    """A sound without the first `lead_samples`, counted at 16 kHz."""
    first = round(lead_samples * sound.sample_rate_hz / SAMPLE_RATE_HZ)
    start_s = sound.start_s + first / sound.sample_rate_hz
    return Waveform(sound.samples[first:], sound.sample_rate_hz, start_s)


def _cut_track(track: FaceTrack, start_s: float, end_s: float) -> FaceTrack | None:
    """The part of a track on screen in the span, None if there is none."""
    half_s = 0.5 / VIDEO_FPS
    inside = (track.times_s >= start_s - half_s) & (track.times_s <= end_s + half_s)
    if not np.any(inside):
        return None
    return FaceTrack(
        track.track_id,
        track.frame_indices[inside],
        track.times_s[inside],
        track.boxes_xyxy[inside],
        track.scores[inside],
    )


def _cut_mouth(mouth: MouthTrack, pictures: slice) -> MouthTrack:
    return MouthTrack(
        mouth.crops[pictures],
        mouth.is_visible[pictures],
        mouth.start_s + pictures.start / VIDEO_FPS,
        mouth.landmarks_px[pictures],
        mouth.is_turned[pictures],
        mouth.is_obscured[pictures],
    )
