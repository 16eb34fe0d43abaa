"""From a request to a job in the queue: the one way in, whether or not the client waits."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from anyio import to_thread
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from server.answers import preferred_wait_s
from server.catalogue import ENHANCEMENT, HEAD_TASKS, Model
from server.dependencies import Service
from server.errors import ApiError
from server.job_types import Job, Kind, NewJob, new_job_id
from server.keys import Caller
from server.receiving import Received, UploadLimits, receive_form
from server.schemas import EnhancementForm, EvaluationForm, FacesForm, HeadForm, JobForm
from server.waiting import wait_until_loaded
from server.webhooks import check_url

SYNC_PRIORITY = 10
_SYNC_TTL_S = 300.0
_FILES: Mapping[Kind, tuple[str, ...]] = {
    "enhancement": ("file",),
    "faces": ("file",),
    "evaluation": ("reference", "estimate", "noisy"),
    "gestures": ("file",),
    "actions": ("file", "skeleton"),
}
_OPTIONAL_FILES = ("noisy", "skeleton")
# The part `file` is stored as `input`, the others under their own names.
_STORED_AS = {"file": "input"}
FormType = TypeVar("FormType", bound=BaseModel)
_LONGEST_KEY = 255
_LONGEST_METADATA = 16


@dataclass(frozen=True, slots=True)
class Submission:
    """How a request becomes a job.

    Attributes:
        kind: None: the form says it.
        is_sync: Whether the client waits for the result on this connection.
        caller: Who asks.
    """

    kind: Kind | None
    is_sync: bool
    caller: Caller


async def submit(request: Request, service: Service, submission: Submission) -> Job:
    """Receive an upload and put its job into the queue.

    Raises:
        ApiError: Anything is not as documented, or there is no room.
        ClientDisconnect: The client went away while uploading.
    """
    job_id = new_job_id()
    if submission.is_sync:
        service.calls.enter(job_id, service.settings.max_sync)
    try:
        return await _submit(request, service, submission, job_id)
    except BaseException:
        service.calls.leave(job_id)
        raise


async def _submit(request: Request, service: Service, submission: Submission, job_id: str) -> Job:
    await to_thread.run_sync(_check_open, service, submission)
    kept = False
    service.uploads.enter()
    try:
        await to_thread.run_sync(service.spool.create, job_id)
        received = await receive_form(
            request,
            service.spool,
            job_id,
            _expected_files(submission),
            _limits(service, submission),
        )
        new = _new_job(service, submission, job_id, received, _idempotency_key(request))
        if new.is_sync and new.kind in HEAD_TASKS:
            wait_s = preferred_wait_s(request, service.settings.max_wait_s) or 0.0
            await wait_until_loaded(service, new.options["model"], wait_s)
        job = await to_thread.run_sync(_create, service, new)
        kept = job.id == job_id
        return job
    finally:
        service.uploads.leave()
        if not kept:
            await to_thread.run_sync(service.spool.delete, job_id)


def _check_open(service: Service, submission: Submission) -> None:
    """Refuse early what would be refused after the upload."""
    if service.drain.is_draining:
        raise ApiError("draining", "the service is about to restart; try again soon")
    if submission.kind is not None and submission.kind in HEAD_TASKS:
        _configured_head(service, submission.kind)
    if service.store.n_queued() >= service.settings.max_queued:
        raise ApiError("queue_full", f"{service.settings.max_queued} jobs are waiting already")
    if submission.is_sync and not service.has_ready_worker():
        raise ApiError("model_loading", "the model process is not ready yet")


def _create(service: Service, new: NewJob) -> Job:
    settings = service.settings
    if service.drain.is_draining and new.is_sync:
        raise ApiError("draining", "the service is about to restart; try again soon")
    return service.store.create(
        new, max_queued=settings.max_queued, max_owned=settings.max_jobs_per_key
    )


def _expected_files(submission: Submission) -> dict[str, str]:
    """Name of each part that may be a file, and what it is stored as."""
    kinds = _FILES if submission.kind is None else (submission.kind,)
    names = {name for kind in kinds for name in _FILES[kind]}
    return {name: _STORED_AS.get(name, name) for name in names}


def _limits(service: Service, submission: Submission) -> UploadLimits:
    settings = service.settings
    return UploadLimits(
        max_bytes=settings.sync_max_bytes if submission.is_sync else settings.job_max_bytes,
        max_fields=settings.max_fields,
        max_field_bytes=settings.max_field_bytes,
        idle_s=settings.receive_idle_s,
        min_bytes_s=settings.receive_min_bytes_s,
        total_s=settings.receive_max_s,
        min_free_bytes=settings.min_free_bytes,
    )


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        detail = f"expected 1 to {_LONGEST_KEY} printable characters"
        raise ApiError("invalid_request", detail, param="Idempotency-Key")
    return key


def _new_job(
    service: Service,
    submission: Submission,
    job_id: str,
    received: Received,
    idempotency_key: str | None,
) -> NewJob:
    """The job an upload asks for, every field checked."""
    common = _common(submission, received)
    kind = submission.kind or common.kind
    options = _options(service, kind, received)
    webhook_url = _webhook(service, common.webhook_url)
    metadata = _metadata(common.metadata)
    _check_files(kind, received)
    settings, is_sync = service.settings, submission.is_sync
    return NewJob(
        kind=kind,
        options=options,
        id=job_id,
        owner=submission.caller.key_id,
        priority=SYNC_PRIORITY if is_sync else 0,
        max_attempts=1 if is_sync else settings.max_attempts,
        is_sync=is_sync,
        ttl_s=_SYNC_TTL_S if is_sync else settings.job_ttl_s,
        source_name=next(iter(received.files.values())).user_name,
        webhook_url=webhook_url,
        metadata=metadata,
        idempotency_key=None if is_sync else idempotency_key,
        request_hash=_hash([kind, options, webhook_url, metadata], received),
    )


def _common(submission: Submission, received: Received) -> JobForm:
    """Take the fields every job has out of the form; a fixed kind has none of them."""
    if submission.kind is not None:
        return JobForm.model_validate({"kind": submission.kind})
    own = {
        name: received.fields.pop(name) for name in JobForm.model_fields if name in received.fields
    }
    return checked(JobForm, own)


def _options(service: Service, kind: Kind, received: Received) -> dict[str, Any]:
    if kind == "enhancement":
        form = checked(EnhancementForm, received.fields)
        return form.options(_model_id(service, form.model))
    if kind == "faces":
        return checked(FacesForm, received.fields).model_dump()
    if kind in HEAD_TASKS:
        return _head_options(service, kind, received)
    checked(EvaluationForm, received.fields)
    return {"has_noisy": "noisy" in received.files}


def checked(form: type[FormType], fields: Mapping[str, str]) -> FormType:
    """The form of these fields.

    Raises:
        ApiError: 400 for an unknown field, 422 for a value that is not allowed.
    """
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    param = ".".join(str(part) for part in first["loc"]) or message.split(":")[0]
    if first["type"] == "extra_forbidden":
        raise ApiError("invalid_request", f"{param}: there is no such field", param=param)
    detail = message if message.startswith(f"{param}:") else f"{param}: {message}"
    raise ApiError("invalid_request", detail, param=param, status=422)


def _model_id(service: Service, asked: str | None) -> str:
    model_id = asked or service.catalogue.default_id
    model = service.catalogue.find(model_id)
    if asked is not None and (model is None or model.task != ENHANCEMENT):
        raise ApiError(
            "model_not_found", "there is no enhancement model of this name", param="model"
        )
    return model_id


def _configured_head(service: Service, kind: Kind) -> Model:
    model = service.catalogue.head(kind)
    if model is None:
        raise ApiError("head_not_configured", f"no head for {kind} is installed")
    return model


def _head_options(service: Service, kind: Kind, received: Received) -> dict[str, Any]:
    model = _configured_head(service, kind)
    form = checked(HeadForm, received.fields)
    if form.model is not None:
        asked = service.catalogue.find(form.model)
        if asked is None or asked.task != model.task:
            detail = f"there is no head for {kind} of this name"
            raise ApiError("model_not_found", detail, param="model")
        model = asked
    return {**form.options(model.id), "has_skeleton": "skeleton" in received.files}


def _webhook(service: Service, url: str | None) -> str | None:
    if url is None:
        return None
    if not service.settings.allow_webhooks or service.settings.webhook_secret is None:
        detail = "webhook_url: webhooks are switched off on this server"
        raise ApiError("invalid_request", detail, param="webhook_url")
    problem = check_url(url)
    if problem is not None:
        raise ApiError(
            "invalid_request", f"webhook_url: {problem}", param="webhook_url", status=422
        )
    return url


def _metadata(text: str | None) -> dict[str, Any]:
    """The user's own notes on a job: a flat JSON object of strings."""
    try:
        notes = json.loads(text or "{}")
        json.dumps(notes, ensure_ascii=False).encode()  # half a surrogate pair cannot be sent back
    except (ValueError, RecursionError):
        notes = None
    is_flat = isinstance(notes, dict) and all(isinstance(each, str) for each in notes.values())
    if not is_flat or len(notes) > _LONGEST_METADATA:
        detail = f"metadata: expected a JSON object of at most {_LONGEST_METADATA} strings"
        raise ApiError("invalid_request", detail, param="metadata", status=422)
    return dict(notes)


def _check_files(kind: Kind, received: Received) -> None:
    for name in _FILES[kind]:
        if name not in received.files:
            if name not in _OPTIONAL_FILES:
                raise ApiError("invalid_request", f"{name}: the file is missing", param=name)
        elif received.files[name].n_bytes == 0:
            raise ApiError("undecodable", f"{name}: the file is empty", param=name)
    if extra := set(received.files) - set(_FILES[kind]):
        name = min(extra)
        raise ApiError("invalid_request", f"{name}: no file is expected for {kind}", param=name)


def _hash(request: list[Any], received: Received) -> str:
    """What makes two requests the same one: all choices and the bytes of all files."""
    files = sorted((name, file.sha256) for name, file in received.files.items())
    text = json.dumps([request, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
