"""What an enhancement takes and gives; validated once, never changed in place."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avse.spans import Spans
from preprocessing.types import MouthTrack, Waveform

Mode = Literal["auto", "av", "audio_only"]
PathTaken = Literal["av", "audio_only", "mixed"]
Reason = Literal["asked", "no_video", "no_face", "face_too_small", "face_lost", "low_fps"]
MaskKind = Literal["ratio-magnitude", "complex-ratio"]

MODES = ("auto", "av", "audio_only")


@dataclass(frozen=True, slots=True)
class EnhanceOptions:
    """What the user may choose for one clip.

    Attributes:
        face: Whom to listen to: `auto | largest | all | <track> | x,y,w,h@t`.
        mode: `auto` falls back to sound alone where no mouth is visible; `av` raises if there is
            none in the whole clip; `audio_only` does not look.
        strength: 0.0 gives the input back, 1.0 applies the whole mask.
        output_rate: 16000, or "input" for the sound's own rate.
        audio_track: Which of the container's sound streams, from 0.
        keep_mask: Whether the result holds the mask (230 MB for an hour).
    """

    face: str = "auto"
    mode: Mode = "auto"
    strength: float = 1.0
    output_rate: int | Literal["input"] = 16_000
    audio_track: int = 0
    keep_mask: bool = True

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: A value is outside its range; the message names it.
        """
        if self.mode not in MODES:
            raise ValueError(f"mode: expected one of {MODES}, found {self.mode!r}")
        if not 0.0 <= self.strength <= 1.0:
            raise ValueError(f"strength: expected 0 to 1, found {self.strength}")
        if self.output_rate not in (16_000, "input"):
            raise ValueError(f'output_rate: expected 16000 or "input", found {self.output_rate!r}')
        if self.audio_track < 0:
            raise ValueError(f"audio_track: expected 0 or more, found {self.audio_track}")


@dataclass(frozen=True, slots=True)
class Mask:
    """What the network said of each point of the spectrum.

    Attributes:
        values: `[F, T]` float16 or float32; 0 removes, 1 keeps.
        kind: `ratio-magnitude` multiplies the mixture's magnitude. Of a network that gives a voice
            its own phase (`models.phase_refiner`) it is the magnitude of the complex mask, and may
            lie a little above 1.
    """

    values: NDArray[np.floating[Any]]
    kind: MaskKind = "ratio-magnitude"

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            ValueError: The values are not `[F, T]` floats.
        """
        if self.values.ndim != 2 or self.values.dtype not in (np.float16, np.float32):
            found = f"{self.values.dtype} of shape {self.values.shape}"
            raise ValueError(f"Mask.values: expected float [F, T], found {found}")


@dataclass(frozen=True, slots=True)
class EnhanceReport:
    """How the result came about; nothing is done that does not stand here.

    Attributes:
        bundle: Name and the first digits of the weights' sha256.
        device: Where the network ran.
        target_track_id: The face that was listened to, None for sound alone.
        target_choice: Why this face, None for sound alone.
        n_tracks: Faces that were followed.
        duration_s: Length of the sound.
        face_s: Seconds in which the target's mouth was visible.
        path: `av` all along, `audio_only` all along, or `mixed`.
        reason: Why not `av` all along; None where it was.
        audio_only_spans_s: Seconds from the start of the sound without a visible mouth.
        doubtful_spans_s: Seconds in which what was heard hardly moved with the lips, so that every
            voice was kept there, at least in half.
        speaking_score: Agreement of lips and sound of the target, None where not scored.
        sync_offset_ms: Picture minus sound as found, mended for the network only; > 0 = the
            picture came late.
        high_band: How sound above 8 kHz was treated; None where the output has none.
        audio_only_bundle: The network that went by sound alone, where it was another one: in a
            clip without any visible mouth, or far from where one was visible.
        warnings: Sentences about what was mended or could not be used.
        stage_s: Seconds of computing by stage.
        real_time_factor: Duration by computing time; 4.0 is four times faster than real time.
    """

    bundle: str
    device: str
    target_track_id: int | None
    n_tracks: int
    duration_s: float
    face_s: float
    path: PathTaken
    reason: Reason | None
    audio_only_spans_s: Spans = ()
    doubtful_spans_s: Spans = ()
    speaking_score: float | None = None
    sync_offset_ms: float = 0.0
    high_band: str | None = None
    target_choice: str | None = None
    audio_only_bundle: str | None = None
    warnings: tuple[str, ...] = ()
    stage_s: dict[str, float] = field(default_factory=dict)
    real_time_factor: float = 0.0

    def to_json(self) -> str:
        """The report as indented JSON, one member for each attribute."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class EnhancedClip:
    """The result: start and duration of the input to one sample.

    Attributes:
        waveform: The clean voice.
        mask: What was applied, before `strength`; None if it was not asked for.
        report: How it came about.
        mouth: The target's mouth crops as the network saw them; None for sound alone.
    """

    waveform: Waveform
    mask: Mask | None
    report: EnhanceReport
    mouth: MouthTrack | None = None
