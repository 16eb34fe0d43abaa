"""Waiting for the end of a job, as long as the client is there."""

import asyncio
from contextlib import suppress

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request

from server.dependencies import Service
from server.errors import ApiError
from server.job_types import Job

_LOOK_S = 0.1
_LOAD_AGAIN_S = 2


async def wait_for_end(
    service: Service, job: Job, timeout_s: float, *, outlasts_drain: bool = False
) -> Job:
    """The job as it stands when it has ended, or when the time is over.

    Args:
        service: The parts.
        job: As it stood.
        timeout_s: How long to wait.
        outlasts_drain: Whether to go on when the service is about to end.

    Raises:
        ApiError: `not_found`, someone deleted it meanwhile.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while not job.is_finished and (outlasts_drain or not service.drain.is_draining):
        left_s = deadline_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            break
        await service.watcher.wait(job.id, job.version, left_s)
        found = await to_thread.run_sync(service.store.get, job.id)
        if found is None:
            raise ApiError("not_found", "the job was deleted")
        job = found
    return job


async def wait_with_client(request: Request, service: Service, job: Job, timeout_s: float) -> Job:
    """As `wait_for_end`, but no longer than the client is connected.

    Raises:
        ClientDisconnect: It went away.
    """
    waiting = asyncio.ensure_future(wait_for_end(service, job, timeout_s, outlasts_drain=True))
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return waiting.result()
    finally:
        service.calls.leave(job.id)
        for task in (waiting, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, ApiError):
                await task


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def wait_until_loaded(service: Service, model_id: str, timeout_s: float) -> None:
    """Return when a model is in memory; one that is not is asked for.

    One that could not be loaded is let through: its job tries again and says why it failed.

    Raises:
        ApiError: `model_loading`, it is not there in time.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while await to_thread.run_sync(_is_missing, service, model_id):
        if asyncio.get_running_loop().time() >= deadline_s:
            detail = f"{model_id} is being loaded; try again, or send Prefer: wait=30"
            raise ApiError("model_loading", detail, headers={"Retry-After": str(_LOAD_AGAIN_S)})
        await asyncio.sleep(_LOOK_S)


def _is_missing(service: Service, model_id: str) -> bool:
    """Whether a model is not in memory yet; then it is asked for."""
    state = service.store.model_statuses().get(model_id)
    if state is not None and state.status in ("ready", "failed"):
        return False
    if state is None or not state.is_wanted:
        service.store.want_model(model_id, True)
    return True


async def forget(service: Service, job_id: str) -> None:
    """Remove a job and its files; its worker stops at the next heartbeat."""
    await to_thread.run_sync(service.store.delete, job_id)
    await to_thread.run_sync(service.spool.delete, job_id)
