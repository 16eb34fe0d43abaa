"""From a job to an answer: JSON, files and headers."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.requests import Request

from server.dependencies import Service
from server.errors import ApiError
from server.job_types import Job
from server.open_file import OpenFileResponse
from server.schemas import Failure, JobView, Output

MEDIA_TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".opus": "audio/ogg",
    ".mp4": "video/mp4",
    ".png": "image/png",
    ".json": "application/json",
}
_SUFFIX_WORDS = {"input_audio": "input", "mask": "mask", "report": "report"}
POLL_AGAIN_S = 1


def job_view(service: Service, job: Job) -> JobView:
    """The job as clients see it; blocking."""
    outputs = [
        Output(
            variant=variant,
            url=f"/v1/jobs/{job.id}/content?variant={variant}",
            media_type=media_type(name),
        )
        for variant, name in sorted(job.outputs.items())
    ]
    failure = None
    if job.status == "failed":
        failure = Failure(code=ApiError(job.code or "", "").code, detail=job.detail or "")
    position = service.store.queue_position(job.id) if job.status == "queued" else None
    return JobView(
        id=job.id,
        kind=job.kind,
        status=job.status,
        stage=job.stage if job.status == "running" else None,
        progress=round(job.progress, 4),
        queue_position=position,
        eta=_eta_s(service, job, position),
        attempts=job.attempts,
        cancel_requested=job.is_cancel_requested,
        created_at=_iso(job.created_s) or "",
        started_at=_iso(job.started_s),
        finished_at=_iso(job.finished_s),
        expires_at=_iso(job.expires_s),
        options=job.options,
        metadata=job.metadata,
        warnings=list(job.warnings),
        outputs=outputs,
        result=with_pictures(service, job) if job.status == "succeeded" else None,
        error=failure,
    )


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat()


def _eta_s(service: Service, job: Job, position: int | None) -> float | None:
    """Seconds to the end: by its own progress if it runs, by the jobs before it if it waits."""
    if job.status == "running" and job.started_s is not None and job.progress >= 0.05:
        spent_s = service.store.now_s() - job.started_s
        return round(spent_s * (1.0 - job.progress) / job.progress, 1)
    if position is None:
        return None
    mean_s = service.store.recent_run_s(job.kind)
    return None if mean_s is None else round((position + 1) * mean_s, 1)


def with_pictures(service: Service, job: Job) -> dict[str, Any]:
    """The result, thumbnails as `data:` URIs."""
    tracks = [
        {**track, "thumbnail": _data_uri(service, job.id, track.get("thumbnail"))}
        for track in job.result.get("tracks", [])
    ]
    return {**job.result, "tracks": tracks} if tracks else dict(job.result)


def _data_uri(service: Service, job_id: str, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        picture = service.spool.output_path(job_id, name).read_bytes()
    except FileNotFoundError:
        return None
    kind = "png" if name.endswith(".png") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def media_type(file_name: str) -> str:
    """By our own suffix."""
    return MEDIA_TYPES.get(Path(file_name).suffix, "application/octet-stream")


def attachment_name(job: Job, variant: str) -> str:
    """What a browser should call a result: from the user's name for the input, made harmless."""
    stem = Path(job.source_name).stem or "clip"
    word = _SUFFIX_WORDS.get(variant, "enhanced")
    return f"{stem}-{word}{Path(job.outputs[variant]).suffix}"


def ended_well(job: Job) -> Job:
    """The job if it succeeded.

    Raises:
        ApiError: What it failed with, or that it was canceled.
    """
    if job.status == "failed":
        raise ApiError(job.code or "internal", job.detail or "the job failed")
    if job.status == "canceled":
        raise ApiError("conflict", "the job was canceled")
    return job


def result_headers(job: Job) -> dict[str, str]:
    """What was done, for clients that read headers only."""
    report: Mapping[str, Any] = job.result.get("report", {})
    headers = {"AVSE-Mode": str(report.get("path", ""))}
    if report.get("reason") not in (None, "asked"):
        headers["AVSE-Fallback-Reason"] = str(report["reason"])
    if report.get("target_track_id") is not None:
        headers["AVSE-Face"] = str(report["target_track_id"])
    return {**headers, "Server-Timing": _server_timing(job, report)}


def _server_timing(job: Job, report: Mapping[str, Any]) -> str:
    stages_s = {str(name): float(spent) for name, spent in report.get("stage_s", {}).items()}
    if job.started_s is not None and job.finished_s is not None:
        stages_s["queue"] = job.started_s - job.created_s
        stages_s["total"] = job.finished_s - job.created_s
    return ", ".join(f"{name};dur={1000 * spent:.1f}" for name, spent in stages_s.items())


async def file_answer(
    service: Service,
    job: Job,
    variant: str,
    headers: Mapping[str, str],
    after: Callable[[], Awaitable[None]] | None = None,
) -> OpenFileResponse:
    """A result as an attachment, whole or in ranges.

    Raises:
        ApiError: `not_found`, no such result; `gone`, its file is not there any more.
    """
    if variant not in job.outputs:
        found = ", ".join(sorted(job.outputs)) or "none"
        detail = f"variant: this job has no {variant}; it has: {found}"
        raise ApiError("not_found", detail, param="variant")
    path = service.spool.output_path(job.id, job.outputs[variant])
    opened = partial(
        OpenFileResponse,
        path,
        headers={**headers, "Cache-Control": "private, no-store"},
        media_type=media_type(path.name),
        filename=attachment_name(job, variant),
        background=BackgroundTask(after) if after is not None else None,
    )
    try:
        return await to_thread.run_sync(opened)
    except FileNotFoundError as error:
        raise ApiError("gone", "the file is not kept any more") from error


async def accepted(service: Service, job: Job, request: Request) -> JSONResponse:
    """202: the job was taken on."""
    view = await to_thread.run_sync(job_view, service, job)
    headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": str(POLL_AGAIN_S)}
    if prefers_async(request):
        headers["Preference-Applied"] = "respond-async"
    return JSONResponse(view.model_dump(mode="json"), 202, headers=headers)


def preferences(request: Request) -> dict[str, str]:
    """The members of the `Prefer` headers (RFC 7240), lower-cased."""
    members = ",".join(request.headers.getlist("prefer")).split(",")
    pairs = (member.split(";")[0].strip().lower().partition("=") for member in members)
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs if name}


def preferred_wait_s(request: Request, most_s: float) -> float | None:
    """Seconds of `Prefer: wait=N`, at most `most_s`; None where that was not asked."""
    asked = preferences(request).get("wait", "")
    return min(float(asked), most_s) if asked.isascii() and asked.isdigit() else None


def prefers_async(request: Request) -> bool:
    """Whether the client wants a job instead of waiting."""
    return "respond-async" in preferences(request)
