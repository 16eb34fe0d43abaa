"""What goes over the wire: forms that come in, JSON that goes out."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_FACE = re.compile(
    r"auto|largest|[1-9]\d{0,3}|\d{1,5}(\.\d{1,3})?(,\d{1,5}(\.\d{1,3})?){3}@\d{1,5}(\.\d{1,6})?",
    re.ASCII,
)
_Seconds = Annotated[float, Field(ge=0.0, le=86_400.0, allow_inf_nan=False)]


def _checked_face(value: str) -> str:
    if not _FACE.fullmatch(value):
        raise ValueError("expected auto, largest, a track number or x,y,w,h@t")
    if "," in value and not all(float(side) for side in value.partition("@")[0].split(",")[2:]):
        raise ValueError("expected a box with w > 0 and h > 0")
    return value


def _true_or_false(value: str) -> str:
    if value.lower() not in ("true", "false"):
        raise ValueError("expected true or false")
    return value.lower()


class Form(BaseModel):
    """Fields of a multipart form beside its files; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EnhancementForm(Form):
    """The choices of an enhancement."""

    model: str | None = Field(None, max_length=100, description="Default: the server's model.")
    mode: Literal["auto", "av", "audio_only"] = Field(
        "auto", description="`auto` falls back to sound alone, `av` insists on lips."
    )
    face: Annotated[str, AfterValidator(_checked_face)] = Field(
        "auto",
        description="Whom to listen to: auto, largest, a track number, or x,y,w,h@t.",
        json_schema_extra={"pattern": f"^({_FACE.pattern})$"},
    )
    strength: float = Field(
        1.0, ge=0.0, le=1.0, allow_inf_nan=False, description="0 gives the input back."
    )
    output: Literal["wav", "flac", "mp3", "opus", "mp4"] = Field(
        "wav", description="`mp4`: the picture as it was, with the new sound."
    )
    sample_rate: Literal["16000", "input"] = Field("16000", description="Of the result.")
    audio_track: int = Field(0, ge=0, le=63, description="Which sound stream, from 0.")
    start: _Seconds | None = Field(None, description="Seconds; what is before is cut off.")
    end: _Seconds | None = Field(None, description="Seconds; what is after is cut off.")

    @model_validator(mode="after")
    def _ordered(self) -> "EnhancementForm":
        if self.end is not None and self.end <= (self.start or 0.0):
            raise ValueError("end: expected more than start")
        return self

    def options(self, model_id: str) -> dict[str, Any]:
        """As the worker reads them."""
        rate = 16_000 if self.sample_rate == "16000" else "input"
        return {**self.model_dump(), "model": model_id, "sample_rate": rate}


class FacesForm(Form):
    """The choices of a search for faces."""

    thumbnails: Annotated[bool, BeforeValidator(_true_or_false)] = Field(
        True, description="Whether each track comes with a small picture."
    )
    audio_track: int = Field(0, ge=0, le=63, description="Sound the lips are compared with.")


class EvaluationForm(Form):
    """An evaluation has files only."""


class HeadForm(Form):
    """The choices of a recognition head."""

    model: str | None = Field(None, max_length=100, description="Default: the server's head.")
    top_k: int = Field(5, ge=1, le=100, description="Labels told for each segment.")
    window_s: float | None = Field(
        None, ge=0.2, le=60, allow_inf_nan=False, description="Default: as the head was trained."
    )
    stride_s: float | None = Field(
        None, ge=0.1, le=60, allow_inf_nan=False, description="Default: the head's own."
    )
    threshold: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False, description="Segments that score less are left out."
    )
    picture: Literal["auto", "depth", "colour"] = Field(
        "auto", description="What the pictures are; auto tells depth by its missing colour."
    )

    @model_validator(mode="after")
    def _without_gaps(self) -> "HeadForm":
        if self.window_s is not None and (self.stride_s or 0.0) > self.window_s:
            raise ValueError("stride_s: expected at most window_s")
        return self

    def options(self, model_id: str) -> dict[str, Any]:
        """As the worker reads them."""
        return {**self.model_dump(), "model": model_id}


class JobForm(Form):
    """What a job has beside the choices of its kind."""

    kind: Literal["enhancement", "faces", "evaluation", "gestures", "actions"] = "enhancement"
    webhook_url: str | None = Field(None, max_length=2000, description="Where the end is told.")
    metadata: str | None = Field(None, description="A JSON object that comes back with the job.")


class ProblemError(BaseModel):
    """The error as OpenAI clients read it."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    param: str | None
    request_id: str
    error: ProblemError


class Output(BaseModel):
    """One result of a job."""

    variant: str
    url: str
    media_type: str


class Failure(BaseModel):
    """Why a job failed."""

    code: str
    detail: str


class JobView(BaseModel):
    """A job as clients see it."""

    id: str
    object: Literal["job"] = "job"
    kind: str
    status: Literal["queued", "running", "succeeded", "failed", "canceled"]
    stage: str | None = Field(description="probe, decode, track, infer, encode or mux.")
    progress: float = Field(ge=0, le=1)
    queue_position: int | None = Field(description="Jobs before this one; null unless queued.")
    eta: float | None = Field(description="Seconds to the end, as far as can be told.")
    attempts: int
    cancel_requested: bool
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    options: dict[str, Any]
    metadata: dict[str, Any]
    warnings: list[str]
    outputs: list[Output]
    result: dict[str, Any] | None
    error: Failure | None


class JobList(BaseModel):
    """One page of jobs, newest first."""

    object: Literal["list"] = "list"
    items: list[JobView]
    has_more: bool
    last_id: str | None = Field(description="Give it as `after` for the next page.")


class FaceTrackView(BaseModel):
    """One face that was followed."""

    id: int
    start: float = Field(description="Seconds.")
    end: float
    bbox: list[float] = Field(description="x, y, width, height in pixels, at `time`.")
    time: float | None = Field(None, description="Seconds; with bbox a `face`: x,y,w,h@t.")
    score: float
    speaking_score: float | None
    thumbnail: str | None = Field(description="A data: URI.")
    boxes: list[list[float]] = Field(
        default=[], description="Its way: [time, x, y, width, height], at most five a second."
    )


class FacesView(BaseModel):
    """All faces of a clip."""

    duration: float | None = None
    tracks: list[FaceTrackView]


class Scores(BaseModel):
    """Measures of one signal against the reference."""

    pesq: float | None
    stoi: float | None
    si_sdr: float | None


class EvaluationView(BaseModel):
    """How good an estimate is."""

    model_config = ConfigDict(extra="allow")

    pesq: float | None = Field(description="ITU-T P.862.2 wide band, -0.5 to 4.5.")
    stoi: float | None = Field(description="0 to 1.")
    si_sdr: float | None = Field(description="dB.")
    duration: float | None = None
    noisy: Scores | None = None
    improvement: Scores | None = None


class ModelView(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    task: str
    status: Literal["available", "loading", "ready", "failed"]
    detail: str = ""
    licence: str | None
    sample_rate: int | None
    scores: dict[str, Any]
    is_default: bool
    labels: list[str] = Field([], description="What a recognition head tells apart.")
    streams: list[str] = Field([], description="What a recognition head looks at.")


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    items: list[ModelView]


class LabelScore(BaseModel):
    """One label and how likely it is."""

    label: str
    score: float = Field(ge=0, le=1)


class Segment(BaseModel):
    """A stretch of time with one label."""

    start: float = Field(description="Seconds.")
    end: float
    label: str
    score: float = Field(ge=0, le=1)
    top_k: list[LabelScore]


class SegmentsView(BaseModel):
    """What a recognition head found."""

    model: str
    duration: float = Field(description="Seconds.")
    segments: list[Segment]
    streams: list[str] = Field(description="What was there to look at.")
    notes: list[str] = Field(description="What was missing or stood in for something else.")


class HealthView(BaseModel):
    """Whether the service can work; each check says what it found."""

    status: Literal["alive", "ready", "not_ready"]
    checks: dict[str, str] = {}


class Metadata(BaseModel):
    """What this server is and allows."""

    name: str
    version: str
    default_model: str
    key_needed: bool
    webhooks: bool
    outputs: list[str]
    heads: list[str] = Field(description="Of gestures and actions those that are installed.")
    limits: dict[str, float]
