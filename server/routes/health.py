"""Probes, numbers, and what this server is: open without a key."""

import sqlite3
from typing import Annotated

from fastapi import APIRouter, Response, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client.exposition import CONTENT_TYPE_LATEST

import avse
from server.auth import identify
from server.catalogue import HEAD_TASKS, LOADABLE
from server.dependencies import Parts, Service
from server.errors import ApiError
from server.openapi import answer, problems, text_answer
from server.schemas import HealthView, Metadata

router = APIRouter(tags=["service"])
_READY_EXAMPLE = {"status": "ready", "checks": {"service": "ok", "store": "ok", "disk": "ok"}}
_METRICS_EXAMPLE = """# TYPE avse_jobs_total counter
avse_jobs_total{kind="enhancement",reason="",status="succeeded"} 12.0
# TYPE avse_queue_depth gauge
avse_queue_depth 0.0
"""
_METADATA_EXAMPLE = {
    "name": "avse",
    "version": "0.1.0",
    "default_model": "avse-mmtm",
    "key_needed": False,
    "webhooks": False,
    "outputs": ["wav", "flac", "mp3", "opus", "mp4"],
    "heads": ["gestures", "actions"],
    "limits": {"job_max_bytes": 1_000_000_000, "job_max_s": 1800},
}
_OUTPUTS = ["wav", "flac", "mp3", "opus", "mp4"]


@router.get(
    "/v1/health/live",
    summary="Whether the process is alive",
    response_model=HealthView,
    responses={200: answer({"status": "alive", "checks": {}})},
)
async def live() -> HealthView:
    """200 as long as the process answers at all."""
    return HealthView(status="alive")


@router.get(
    "/v1/health/ready",
    summary="Whether work is taken",
    response_model=HealthView,
    responses={
        200: answer(_READY_EXAMPLE),
        503: {
            **answer({"status": "not_ready", "checks": {"worker": "starting"}}),
            "model": HealthView,
        },
    },
)
def ready(parts: Parts, response: Response) -> HealthView:
    """200 if a clip sent now would be worked on: store, disk and a warm model process."""
    checks = {
        "service": "draining" if parts.drain.is_draining else "ok",
        "store": _store_check(parts),
        "disk": "ok" if parts.spool.free_bytes() >= parts.settings.min_free_bytes else "full",
        "worker": _worker_check(parts),
    }
    is_ready = all(found == "ok" for found in checks.values())
    if not is_ready:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return HealthView(status="ready" if is_ready else "not_ready", checks=checks)


def _store_check(service: Service) -> str:
    try:
        service.store.is_draining()
    except sqlite3.Error:
        return "unreadable"
    return "ok"


def _worker_check(service: Service) -> str:
    if service.has_ready_worker():
        return "ok"
    states = service.store.worker_states()
    return states[0].phase if states and states[0].phase != "ready" else "none"


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    openapi_extra={"security": [{}]},  # or without one, unless the operator wants it
    responses={200: text_answer("text/plain", _METRICS_EXAMPLE), **problems()},
)
def metrics(
    parts: Parts,
    bearer: Annotated[
        HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))
    ] = None,
    header: Annotated[
        str | None, Security(APIKeyHeader(name="X-API-Key", auto_error=False))
    ] = None,
) -> Response:
    """All metrics, those of the model process included."""
    if parts.settings.metrics_need_key and not identify(parts.keys, bearer, header).is_admin:
        raise ApiError("forbidden", "this key has no scope 'admin'")
    text = parts.metrics.text(lambda: bring_up_to_date(parts))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


def bring_up_to_date(service: Service) -> None:
    """Set the gauges, and take in what the model process has measured."""
    service.metrics.record(service.store.take_observations())
    service.metrics.queue_depth.set(service.store.n_queued())
    service.metrics.spool_bytes.set(service.spool.used_bytes())
    states = service.store.model_statuses()
    for model in service.catalogue.all():
        if model.task in LOADABLE:
            is_loaded = model.id in states and states[model.id].status == "ready"
            service.metrics.model_loaded.labels(model.id).set(is_loaded)


@router.get(
    "/v1/metadata",
    summary="What this server is and allows",
    response_model=Metadata,
    responses={200: answer(_METADATA_EXAMPLE)},
)
def metadata(parts: Parts) -> Metadata:
    """Version, limits, and whether a key is needed."""
    settings = parts.settings
    limits = {
        "sync_max_bytes": settings.sync_max_bytes,
        "sync_max_s": settings.sync_max_s,
        "job_max_bytes": settings.job_max_bytes,
        "job_max_s": settings.job_max_s,
        "max_pixels": settings.max_pixels,
        "max_fps": settings.max_fps,
        "max_streams": settings.max_streams,
        "max_fields": settings.max_fields,
        "max_field_bytes": settings.max_field_bytes,
        "job_ttl_s": settings.job_ttl_s,
    }
    return Metadata(
        name="avse",
        version=avse.__version__,
        default_model=parts.catalogue.default_id,
        key_needed=parts.keys.is_needed,
        webhooks=settings.allow_webhooks and settings.webhook_secret is not None,
        outputs=_OUTPUTS,
        heads=[kind for kind in HEAD_TASKS if parts.catalogue.head(kind) is not None],
        limits=limits,
    )
