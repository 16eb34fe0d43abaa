"""`POST /v1/audio/enhancements`: a clip in, the voice out, on one connection or as a job."""

from fastapi import APIRouter
from fastapi.responses import Response
from starlette.requests import ClientDisconnect, Request

from server.answers import accepted, ended_well, file_answer, prefers_async, result_headers
from server.auth import User
from server.dependencies import Parts, Service
from server.errors import ApiError
from server.job_types import Job
from server.openapi import JOB_EXAMPLE, RESPOND_ASYNC, answer, form_body, problems
from server.openapi import file_answer as file_schema
from server.schemas import EnhancementForm, JobView
from server.submission import Submission, submit
from server.waiting import forget, wait_with_client

router = APIRouter(tags=["enhancement"])
_EXAMPLE = {"mode": "auto", "face": "auto", "strength": "1.0", "output": "wav"}
_HEADERS = {
    "AVSE-Mode": "mixed",
    "AVSE-Fallback-Reason": "face_lost",
    "AVSE-Face": "1",
    "Server-Timing": "decode;dur=310.2, infer;dur=820.7",
}


@router.post(
    "/v1/audio/enhancements",
    summary="Enhance a clip and wait for the result",
    response_class=Response,
    openapi_extra=form_body(EnhancementForm, example=_EXAMPLE, parameters=[RESPOND_ASYNC]),
    responses={
        200: file_schema(
            "audio/wav",
            "audio/flac",
            "audio/mpeg",
            "audio/ogg",
            "video/mp4",
            description="The enhanced sound, or the clip with it.",
            headers=_HEADERS,
        ),
        202: {**answer(JOB_EXAMPLE, "A job, with `Prefer: respond-async`."), "model": JobView},
        **problems(400, 404, 408, 413, 415, 422, 429, 503, 504, 507),
    },
)
async def enhance(request: Request, parts: Parts, caller: User) -> Response:
    """Take the voice of a visible speaker out of a noisy clip.

    The same work as a job of kind `enhancement`; with `Prefer: respond-async` it becomes one.
    Where no face is visible, `mode=auto` goes by sound alone and says so in `AVSE-Mode`.
    """
    if prefers_async(request):
        job = await submit(request, parts, Submission("enhancement", False, caller))
        return await accepted(parts, job, request)
    job = await submit(request, parts, Submission("enhancement", True, caller))
    return await answer_and_forget(request, parts, job)


async def answer_and_forget(request: Request, service: Service, job: Job) -> Response:
    """Wait for an enhancement, send its file, leave nothing behind.

    Raises:
        ApiError: What it failed with, or `sync_timeout`.
        ClientDisconnect: The client went away.
    """

    async def clean_up() -> None:
        await forget(service, job.id)

    try:
        ended = ended_well(await wait_for_sync(request, service, job))
        variant = "video" if job.options["output"] == "mp4" else "audio"
        return await file_answer(service, ended, variant, result_headers(ended), after=clean_up)
    except (ApiError, ClientDisconnect):
        await clean_up()
        raise


async def wait_for_sync(request: Request, service: Service, job: Job) -> Job:
    """The ended job.

    Raises:
        ApiError: `sync_timeout`.
        ClientDisconnect: The client went away.
    """
    limit_s = service.settings.sync_timeout_s
    found = await wait_with_client(request, service, job, limit_s)
    if not found.is_finished:
        detail = f"not finished within {limit_s:g} s; POST /v1/jobs has no such limit"
        raise ApiError("sync_timeout", detail)
    return found
