"""Faces, scores and recognition heads."""

from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.requests import Request

from server.answers import accepted, ended_well, prefers_async, with_pictures
from server.auth import User
from server.dependencies import Parts, Service
from server.job_types import Kind
from server.keys import Caller
from server.openapi import JOB_EXAMPLE, RESPOND_ASYNC, answer, form_body, header, problems
from server.routes.enhancements import wait_for_sync
from server.schemas import (
    EvaluationForm,
    EvaluationView,
    FacesForm,
    FacesView,
    HeadForm,
    JobView,
    SegmentsView,
)
from server.submission import Submission, submit
from server.waiting import forget

router = APIRouter(tags=["analysis"])
_ERRORS = problems(400, 408, 413, 415, 422, 429, 503, 504, 507)
_AS_JOB: dict[str, Any] = {
    **answer(JOB_EXAMPLE, "A job, with `Prefer: respond-async`."),
    "model": JobView,
}
_FACES_EXAMPLE = {
    "duration": 2.96,
    "tracks": [
        {
            "id": 1,
            "start": 0.0,
            "end": 2.96,
            "bbox": [108.0, 62.5, 141.0, 170.2],
            "time": 0.08,
            "score": 0.99,
            "speaking_score": 0.71,
            "thumbnail": "data:image/jpeg;base64,/9j/4AAQ",
            "boxes": [[0.0, 110.2, 60.4, 139.5, 168.8], [0.2, 109.7, 61.1, 139.9, 169.3]],
        }
    ],
}
_SCORES_EXAMPLE = {"pesq": 2.41, "stoi": 0.91, "si_sdr": 11.8}
_EVALUATION_EXAMPLE = {
    **_SCORES_EXAMPLE,
    "duration": 3.0,
    "noisy": {"pesq": 1.2, "stoi": 0.74, "si_sdr": 0.1},
    "improvement": {"pesq": 1.21, "stoi": 0.17, "si_sdr": 11.7},
}
_WAIT = header(
    "Prefer",
    "wait=30",
    "`wait=N`: wait N seconds for a head that is being loaded; `respond-async`: answer 202 with a "
    "job.",
)
_HEAD_ERRORS = problems(400, 404, 408, 413, 415, 422, 429, 503, 504, 507)
_GESTURES_EXAMPLE = {
    "model": "gesture-mmtm",
    "duration": 2.63,
    "segments": [
        {
            "start": 0.0,
            "end": 2.63,
            "label": "arm wave",
            "score": 0.91,
            "top_k": [{"label": "arm wave", "score": 0.91}, {"label": "throw", "score": 0.04}],
        }
    ],
    "streams": ["depth", "flow"],
    "notes": [],
}
_ACTIONS_EXAMPLE = {
    **_GESTURES_EXAMPLE,
    "model": "action-mmtm",
    "streams": ["depth"],
    "notes": ["no skeleton: the depth stream decides alone"],
}


@router.post(
    "/v1/faces",
    summary="Find the faces of a clip",
    response_model=FacesView,
    openapi_extra=form_body(FacesForm, example={"thumbnails": "true"}, parameters=[RESPOND_ASYNC]),
    responses={200: answer(_FACES_EXAMPLE), 202: _AS_JOB, **_ERRORS},
)
async def faces(request: Request, parts: Parts, caller: User) -> Response:
    """Every face that was followed, with how well its lips agree with the sound.

    Give a track's `id` as `face` of an enhancement to listen to that person.
    """
    return await _analyse(request, parts, "faces", caller)


@router.post(
    "/v1/evaluations",
    summary="Score an estimate against its reference",
    response_model=EvaluationView,
    openapi_extra=form_body(
        EvaluationForm,
        files=("reference", "estimate"),
        optional_files=("noisy",),
        example={"reference": "clean.wav", "estimate": "enhanced.wav", "noisy": "clip.wav"},
        parameters=[RESPOND_ASYNC],
    ),
    responses={200: answer(_EVALUATION_EXAMPLE), 202: _AS_JOB, **_ERRORS},
)
async def evaluate(request: Request, parts: Parts, caller: User) -> Response:
    """PESQ, STOI and SI-SDR; with the noisy file, also what was gained."""
    return await _analyse(request, parts, "evaluation", caller)


@router.post(
    "/v1/gestures",
    summary="Recognise gestures",
    response_model=SegmentsView,
    openapi_extra=form_body(HeadForm, example={"top_k": "3"}, parameters=[_WAIT]),
    responses={200: answer(_GESTURES_EXAMPLE), 202: _AS_JOB, **_HEAD_ERRORS},
)
async def gestures(request: Request, parts: Parts, caller: User) -> Response:
    """Hand gestures of a clip as stretches of time, each with its most likely labels.

    The head is loaded on demand: until it is in memory, the answer is 503 `model_loading` with
    `Retry-After`; a job waits by itself. 404 `head_not_configured` where there is no such head.
    """
    return await _analyse(request, parts, "gestures", caller)


@router.post(
    "/v1/actions",
    summary="Recognise actions",
    response_model=SegmentsView,
    openapi_extra=form_body(
        HeadForm, optional_files=("skeleton",), example={"top_k": "3"}, parameters=[_WAIT]
    ),
    responses={200: answer(_ACTIONS_EXAMPLE), 202: _AS_JOB, **_HEAD_ERRORS},
)
async def actions(request: Request, parts: Parts, caller: User) -> Response:
    """Actions of a clip as stretches of time, each with its most likely labels.

    `skeleton`, if sent, is a .npy or .npz file of joints `[T, J, 3]` in metres; without it the
    joints are estimated where an estimator is installed, and left out where not: `notes` say so.
    Loading is as for gestures.
    """
    return await _analyse(request, parts, "actions", caller)


async def _analyse(request: Request, service: Service, kind: Kind, caller: Caller) -> Response:
    """Wait for a job whose result is JSON, send it, leave nothing behind."""
    if prefers_async(request):
        job = await submit(request, service, Submission(kind, False, caller))
        return await accepted(service, job, request)
    job = await submit(request, service, Submission(kind, True, caller))
    try:
        ended = ended_well(await wait_for_sync(request, service, job))
        return JSONResponse(await to_thread.run_sync(with_pictures, service, ended))
    finally:
        await forget(service, job.id)
