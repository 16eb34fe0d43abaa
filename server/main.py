"""`create_app`: the API process; holds no model, decodes no media, imports no torch."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any, Literal

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

import avse
from server.catalogue import catalogue_of
from server.dependencies import Service
from server.drain import Drain
from server.edge import Edge
from server.errors import ApiError, as_api_error, problem
from server.events import JobWatcher
from server.job_types import StoreError
from server.jobs import JobStore
from server.keys import KeyRing
from server.logs import configure
from server.maintenance import repeat, start_clean, tidy_once, webhook_round
from server.metrics import Metrics
from server.openapi import as_open, as_problem_json
from server.routes import analysis, enhancements, health, jobs, models, pages
from server.settings import Settings, settings_from_environment
from server.spool import Spool
from server.upload_slots import UploadSlots

_WORKER_GRACE_S = 5.0
_LOG = logging.getLogger(__name__)
_DESCRIPTION = """Audio-visual speech enhancement: a clip of a talking face in, that person's clean
voice out. Errors are problem details (RFC 9457); every answer carries `X-Request-Id`."""


def create_app(
    settings: Settings | None = None, *, engine: Literal["none", "process"] = "process"
) -> FastAPI:
    """The application.

    Args:
        settings: None reads the environment.
        engine: `process` starts and watches the model process; `none` leaves the work to others.
    """
    settings = settings or settings_from_environment()
    service = make_service(settings)
    app = FastAPI(
        title="avse",
        version=avse.__version__,
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the address would be made from a header of the client
        lifespan=_lifespan(service, engine),
    )
    app.state.service = service
    app.add_middleware(Edge, metrics=service.metrics, drain=service.drain)
    for kind in (ApiError, StoreError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer_problem)
    for module in (enhancements, jobs, analysis, models, health, pages):
        app.include_router(module.router)
    app.openapi = _document(app)  # type: ignore[method-assign]
    return app


def make_service(settings: Settings) -> Service:
    """The parts of the API process; opens the spool, starts nothing."""
    spool = Spool(settings.spool_dir)
    store = JobStore(spool.database_path)
    return Service(
        settings=settings,
        spool=spool,
        store=store,
        watcher=JobWatcher(store),
        catalogue=catalogue_of(settings),
        keys=KeyRing(settings.key_file),
        metrics=Metrics(),
        drain=Drain(settings.drain_s),
        uploads=UploadSlots(settings.max_uploads),
    )


async def _answer_problem(request: Request, error: Exception) -> Response:
    found = as_api_error(error)
    if found.status == HTTPStatus.METHOD_NOT_ALLOWED:
        found.headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem(found, request)


def _allowed_methods(request: Request) -> list[str]:
    """Those of every route of this path; the framework names the first route's alone."""
    found = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _document(app: FastAPI) -> Any:
    """The OpenAPI document, made once."""
    make = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = as_problem_json(make())
            is_open = not app.state.service.keys.is_needed
            app.openapi_schema = as_open(made) if is_open else made
        return app.openapi_schema

    return document


def _lifespan(service: Service, engine: str) -> Any:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        configure(service.settings.log_level)
        async with AsyncExitStack() as stack:
            stack.callback(service.store.close)
            stack.enter_context(service.spool.locked())
            await to_thread.run_sync(start_clean, service)
            if engine == "process":
                await _start_worker(service, stack)
            await _start_tasks(service, stack)
            service.drain.install(lambda: _begin_drain(service), service.store.n_running)
            stack.callback(service.drain.restore)
            yield
            await _begin_drain(service)

    return lifespan


async def _start_worker(service: Service, stack: AsyncExitStack) -> None:
    from server.supervisor import Supervisor  # noqa: PLC0415  (only where a model is wanted)

    supervisor = Supervisor(service.settings, service.store)
    await to_thread.run_sync(supervisor.start)
    stack.push_async_callback(to_thread.run_sync, supervisor.stop, _WORKER_GRACE_S)


async def _start_tasks(service: Service, stack: AsyncExitStack) -> None:
    tasks = [
        asyncio.create_task(service.watcher.run()),
        asyncio.create_task(repeat(lambda: tidy_once(service), "tidying")),
        asyncio.create_task(repeat(webhook_round(service), "webhooks")),
    ]

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    stack.push_async_callback(stop)


async def _begin_drain(service: Service) -> None:
    """From now on nothing new is taken; those who only watch are sent away."""
    service.drain.is_draining = True
    service.watcher.wake_all()
    await to_thread.run_sync(service.store.set_draining, True)
