"""Jobs: made, listed, watched, canceled, deleted, and their results fetched."""

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request

from server.answers import POLL_AGAIN_S, accepted, file_answer, job_view, preferred_wait_s
from server.auth import User
from server.dependencies import Parts, Service
from server.errors import ApiError
from server.job_types import FINISHED, Event, Job, Kind, Status
from server.openapi import JOB_EXAMPLE, answer, form_body, header, problems, text_answer
from server.openapi import file_answer as file_schema
from server.schemas import EnhancementForm, FacesForm, HeadForm, JobForm, JobList, JobView
from server.submission import Submission, submit
from server.waiting import forget, wait_for_end

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_EXAMPLE = {"kind": "enhancement", "mode": "auto", "output": "mp4", "metadata": '{"take": "7"}'}
_DONE_EXAMPLE = {**JOB_EXAMPLE, "status": "canceled", "stage": None, "eta": None}
_EVENTS_EXAMPLE = """id: 4
event: progress
data: {"stage": "track", "progress": 0.42}

id: 9
event: succeeded
data: {"status": "succeeded"}
"""
_REPORT_EXAMPLE = {
    "bundle": "avse-mmtm",
    "path": "av",
    "reason": None,
    "target_track_id": 1,
    "duration_s": 6.0,
    "face_s": 6.0,
    "real_time_factor": 4.2,
}
_WAIT = header("Prefer", "wait=10", "`wait=N`: answer when the job has ended, or after N seconds.")
_RANGE = header("Range", "bytes=0-65535", "A part of the file: the answer is 206.")
_RECHECK_S = 30.0
_RETRY_MS = 2000
_LAST_NUMBER = 2**31
_LONGEST_NUMBER = 20  # digits; int() itself refuses some thousands of them
_LONGEST_ID = 64

_CONTENT = file_schema(
    "audio/wav",
    "audio/flac",
    "audio/mpeg",
    "audio/ogg",
    "video/mp4",
    "image/png",
    description="The file, as an attachment; the report as JSON.",
    headers={"Content-Disposition": 'attachment; filename="clip-enhanced.wav"'},
)
_CONTENT["content"] |= answer(_REPORT_EXAMPLE)["content"]

JobId = Annotated[str, Path(examples=[JOB_EXAMPLE["id"]])]
Variant = Literal["audio", "video", "input_audio", "mask", "report"]


async def visible_job(job_id: JobId, parts: Parts, caller: User) -> Job:
    """The job of the path, if it is the caller's."""
    return await to_thread.run_sync(parts.visible, job_id, caller)


def watchable_job(parts: Parts, job: Annotated[Job, Depends(visible_job)]) -> Job:
    """The job, unless the service is about to end."""
    if parts.drain.is_draining:
        raise ApiError("draining", "the service is about to restart; try again soon")
    return job


VisibleJob = Annotated[Job, Depends(visible_job)]


@router.post(
    "",
    summary="Make a job",
    status_code=202,
    response_model=JobView,
    openapi_extra=form_body(
        JobForm,
        EnhancementForm,
        FacesForm,
        HeadForm,
        files=(),
        optional_files=("file", "reference", "estimate", "noisy", "skeleton"),
        either=(("file",), ("reference", "estimate")),
        example=_EXAMPLE,
    ),
    responses={
        202: answer(JOB_EXAMPLE, "It waits for its turn."),
        **problems(400, 404, 408, 409, 413, 415, 422, 429, 503, 507),
    },
)
async def create_job(
    request: Request,
    parts: Parts,
    caller: User,
    idempotency_key: Annotated[
        str | None,
        Header(max_length=255, description="The same request makes one job.", examples=["take-7"]),
    ] = None,
) -> Response:
    """Upload a clip and come back for the result.

    The fields are those of the kind (`enhancement`, `faces`, `evaluation`, `gestures`, `actions`),
    beside `kind`, `webhook_url` and `metadata`.
    """
    job = await submit(request, parts, Submission(None, False, caller))
    return await accepted(parts, job, request)


@router.get(
    "",
    summary="List jobs",
    response_model=JobList,
    responses={
        200: answer({"object": "list", "items": [JOB_EXAMPLE], "has_more": False, "last_id": None}),
        **problems(404, 422),
    },
)
def list_jobs(
    parts: Parts,
    caller: User,
    status: Annotated[Status | None, Query(examples=["succeeded"])] = None,
    kind: Annotated[Kind | None, Query(examples=["enhancement"])] = None,
    limit: Annotated[int, Query(ge=1, le=100, examples=[20])] = 20,
    after: Annotated[
        str | None, Query(max_length=_LONGEST_ID, description="The `last_id` of the page before.")
    ] = None,
) -> JobList:
    """The caller's jobs, newest first; every key's for an admin."""
    if after is not None:
        parts.visible(after, caller)
    owner = None if caller.is_admin else caller.key_id
    found = parts.store.page(owner, status, kind, limit + 1, after)
    items = [job_view(parts, job) for job in found[:limit]]
    last_id = items[-1].id if items else None
    return JobList(items=items, has_more=len(found) > limit, last_id=last_id)


@router.get(
    "/{job_id}",
    summary="See a job",
    response_model=JobView,
    responses={200: answer(JOB_EXAMPLE), **problems(404, 422)},
    openapi_extra={"parameters": [_WAIT]},
)
async def get_job(request: Request, response: Response, parts: Parts, job: VisibleJob) -> JobView:
    """Stage, progress, place in the queue, results. `Prefer: wait=N` waits for the end."""
    wait_s = preferred_wait_s(request, parts.settings.max_wait_s)
    if wait_s is not None:
        response.headers["Preference-Applied"] = f"wait={wait_s:g}"
        job = await wait_for_end(parts, job, wait_s)
    if not job.is_finished:
        response.headers["Retry-After"] = str(POLL_AGAIN_S)
    return await to_thread.run_sync(job_view, parts, job)


@router.get(
    "/{job_id}/events",
    summary="Watch a job",
    response_class=EventSourceResponse,
    responses={
        200: text_answer("text/event-stream", _EVENTS_EXAMPLE),
        **problems(404, 422, 503),
    },
)
async def job_events(
    parts: Parts,
    job: Annotated[Job, Depends(watchable_job)],
    last_event_id: Annotated[
        str | None, Header(description="Go on after this event.", examples=["4"])
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-Sent Events `progress`, `warning`, `succeeded`, `failed`, `canceled`.

    An ended job sends its last event again and closes.
    """
    is_number = last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit()
    number = int((last_event_id or "0")[:_LONGEST_NUMBER]) if is_number else 0
    after = min(number, _LAST_NUMBER) if is_number else None
    async for event in _follow(parts, job, after):
        yield event


async def _follow(service: Service, job: Job, after: int | None) -> AsyncIterator[ServerSentEvent]:
    if not job.is_finished and after is None:
        yield await _where_it_stands(service, job)
    seen = after or 0
    while True:
        events = await to_thread.run_sync(service.store.events, job.id, seen)
        if job.is_finished:
            for event in await _closing(service, job, events, after):
                yield event
            return
        for each in events:
            seen = each.id
            yield _sse(each)
        # The job may have ended between the two looks at the store.
        if service.drain.is_draining or (events and events[-1].name in FINISHED):
            return
        await service.watcher.wait(job.id, job.version, _RECHECK_S)
        found = await to_thread.run_sync(service.store.get, job.id)
        if found is None:
            return
        job = found
        after = seen


async def _closing(
    service: Service, job: Job, events: list[Event], after: int | None
) -> list[ServerSentEvent]:
    """What is still to be said of an ended job: what was missed, at least the last event."""
    missed = events if after is not None else events[-1:]
    if not missed:
        missed = (await to_thread.run_sync(service.store.events, job.id))[-1:]
    return [_sse(event) for event in missed]


async def _where_it_stands(service: Service, job: Job) -> ServerSentEvent:
    position = await to_thread.run_sync(service.store.queue_position, job.id)
    now = {"stage": job.stage, "progress": job.progress, "queue_position": position}
    return ServerSentEvent(event="progress", data=now, retry=_RETRY_MS)


def _sse(event: Event) -> ServerSentEvent:
    return ServerSentEvent(event=event.name, data=event.payload, id=str(event.id))


@router.post(
    "/{job_id}/cancel",
    summary="Cancel a job",
    response_model=JobView,
    responses={200: answer(_DONE_EXAMPLE), **problems(404, 409, 422)},
)
def cancel_job(parts: Parts, job: VisibleJob) -> JobView:
    """A waiting job ends at once, a running one within seconds; twice is once."""
    return job_view(parts, parts.store.cancel(job.id))


@router.delete(
    "/{job_id}",
    summary="Delete a job and its files",
    status_code=204,
    responses=problems(404, 409, 422),
)
async def delete_job(parts: Parts, job: VisibleJob) -> Response:
    """The job, its input and its results are gone; a running one is stopped."""
    await forget(parts, job.id)
    return Response(status_code=204)


@router.get(
    "/{job_id}/content",
    summary="Fetch a result",
    response_class=Response,
    openapi_extra={"parameters": [_RANGE]},
    responses={
        200: _CONTENT,
        206: file_schema("audio/wav", "video/mp4", description="The range that was asked for."),
        **problems(400, 404, 409, 410, 416, 422),
    },
)
async def job_content(
    parts: Parts,
    caller: User,
    job_id: JobId,
    variant: Annotated[Variant, Query(examples=["audio"])] = "audio",
) -> Response:
    """Sound, video, the sound as it was, a picture of the mask, or the report; ranges work."""
    owner = None if caller.is_admin else caller.key_id
    if await to_thread.run_sync(parts.store.is_expired, job_id, owner):
        raise ApiError("gone", "the time of this job is over and its files are deleted")
    job = await to_thread.run_sync(parts.visible, job_id, caller)
    if not job.is_finished:
        raise ApiError("conflict", f"the job is {job.status}; there is nothing to fetch yet")
    if job.status != "succeeded":
        raise ApiError("conflict", f"the job has {job.status}; there is nothing to fetch")
    return await file_answer(parts, job, variant, {})
