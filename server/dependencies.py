"""What every endpoint works with, made once in `create_app`."""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from server.catalogue import Catalogue
from server.drain import Drain
from server.errors import ApiError
from server.events import JobWatcher
from server.job_types import Job
from server.jobs import JobStore
from server.keys import Caller, KeyRing
from server.metrics import Metrics
from server.settings import Settings
from server.spool import Spool
from server.upload_slots import SyncCalls, UploadSlots

WORKER_SILENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of the API process."""

    settings: Settings
    spool: Spool
    store: JobStore
    watcher: JobWatcher
    catalogue: Catalogue
    keys: KeyRing
    metrics: Metrics
    drain: Drain
    uploads: UploadSlots
    calls: SyncCalls = field(default_factory=SyncCalls)

    def visible(self, job_id: str, caller: Caller) -> Job:
        """The job, if the caller may know of it; blocking.

        Raises:
            ApiError: `not_found`, also for another key's job.
        """
        job = self.store.get(job_id)
        if job is None or not (caller.is_admin or job.owner == caller.key_id):
            raise ApiError("not_found", "there is no such job")
        return job

    def has_ready_worker(self) -> bool:
        """Whether a model process is alive and warm; blocking."""
        oldest_s = self.store.now_s() - WORKER_SILENCE_S
        states = self.store.worker_states()
        return any(each.phase == "ready" and each.beat_s >= oldest_s for each in states)


async def get_service(request: Request) -> Service:
    """The parts of the app that serves this request."""
    service: Service = request.app.state.service
    return service


Parts = Annotated[Service, Depends(get_service)]
