"""What the store of jobs gives and takes; plain values, no database, no HTTP."""

import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["enhancement", "faces", "evaluation", "gestures", "actions"]
Status = Literal["queued", "running", "succeeded", "failed", "canceled"]
WorkerPhase = Literal["starting", "ready", "draining"]
ModelStatus = Literal["available", "loading", "ready", "failed"]

KINDS: tuple[Kind, ...] = ("enhancement", "faces", "evaluation", "gestures", "actions")
STATUSES: tuple[Status, ...] = ("queued", "running", "succeeded", "failed", "canceled")
FINISHED: tuple[Status, ...] = ("succeeded", "failed", "canceled")
STAGES = ("probe", "decode", "track", "infer", "encode", "mux")


class StoreError(Exception):
    """The store cannot do what was asked; `code` is the public name of the reason."""

    code = "internal"


class JobNotFound(StoreError):
    """No job of that id."""

    code = "not_found"


class JobConflict(StoreError):
    """The job is not in a state that allows it."""

    code = "conflict"


class IdempotencyMismatch(StoreError):
    """The key was used before with another request."""

    code = "idempotency_mismatch"


class QueueFull(StoreError):
    """As many jobs wait as may wait."""

    code = "queue_full"


class RateLimited(StoreError):
    """This key has as many unfinished jobs as it may have."""

    code = "rate_limited"


def new_job_id() -> str:
    """A name no one can guess, fit for a folder."""
    return f"job_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a job starts from.

    Attributes:
        kind: What is to be done.
        options: The user's choices, JSON values only.
        id: Made before the upload, because the upload goes into the job's folder.
        owner: Id of the key that asked; empty without keys.
        priority: The highest goes first, then the oldest.
        max_attempts: Starts before a job whose worker died counts as lost.
        is_sync: Someone holds a connection open for it: it does not outlive the API process.
        ttl_s: How long the result is kept after the end.
        source_name: Sanitised name the user gave, for attachments only.
        idempotency_key: With `request_hash`: the same request gives the same job.
    """

    kind: Kind
    options: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_job_id)
    owner: str = ""
    priority: int = 0
    max_attempts: int = 3
    is_sync: bool = False
    ttl_s: float = 3600.0
    source_name: str = ""
    webhook_url: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    request_hash: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands; times are seconds since 1970.

    Attributes:
        progress: 0.0 to 1.0 over the whole job.
        attempts: Starts so far.
        code: Public code of the failure.
        detail: One sentence on the failure.
        outputs: Variant (`audio video input_audio mask report`) to file name in the job's folder.
        result: Report, faces or scores.
        version: Grows with every change.
    """

    id: str
    kind: Kind
    status: Status
    options: dict[str, Any]
    stage: str | None
    progress: float
    attempts: int
    max_attempts: int
    priority: int
    is_sync: bool
    created_s: float
    started_s: float | None
    finished_s: float | None
    expires_s: float | None
    owner: str
    code: str | None
    detail: str | None
    warnings: tuple[str, ...]
    outputs: dict[str, str]
    result: dict[str, Any]
    source_name: str
    webhook_url: str | None
    metadata: dict[str, Any]
    is_cancel_requested: bool
    worker_id: str | None
    version: int

    @property
    def is_finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINISHED


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job, numbered from 1 within it."""

    id: int
    name: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ModelState:
    """What the model process says of one model, and whether someone asked for it."""

    id: str
    status: ModelStatus
    detail: str
    is_wanted: bool | None
    changed_s: float


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Last sign of life of one model process."""

    worker_id: str
    phase: WorkerPhase
    pid: int
    beat_s: float


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured value on its way to /metrics: labels are few and never name a user."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)
