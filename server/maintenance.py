"""What must be done again and again: lost workers, expired jobs, numbers, webhooks."""

import asyncio
import logging
from collections.abc import Callable

from anyio import to_thread

from server.answers import job_view
from server.dependencies import Service
from server.webhooks import WebhookSender

_INTERVAL_S = 1.0
_LOG = logging.getLogger(__name__)


def tidy_once(service: Service) -> None:
    """Reap, expire, and take in what the model process has measured. Blocking."""
    lost = service.store.reap()
    if lost:
        _LOG.warning("a model process went silent", extra={"n_jobs": len(lost)})
    for job_id in service.store.expire():
        service.spool.delete(job_id)
    service.metrics.record(service.store.take_observations())


def start_clean(service: Service) -> None:
    """Bring store and spool in order after whatever ended the process before. Blocking."""
    service.store.set_draining(False)
    service.store.forget_models()
    abandoned = service.store.delete_sync()
    released = service.store.release_all()
    orphans = service.spool.delete_all_but(service.store.all_ids())
    counts = {"n_abandoned": len(abandoned), "n_released": len(released), "n_orphans": len(orphans)}
    _LOG.info("the spool is in order", extra=counts)


async def repeat(what: Callable[[], object], name: str) -> None:
    """Do it every second in a thread, whatever happens; until canceled."""
    is_failing = False
    while True:
        try:
            await to_thread.run_sync(what)
            is_failing = False
        except Exception:
            if not is_failing:  # a full disk lasts: say it once
                _LOG.exception("%s failed", name)
            is_failing = True
        await asyncio.sleep(_INTERVAL_S)


def webhook_round(service: Service) -> Callable[[], object]:
    """One round of deliveries, or nothing where webhooks are off."""
    settings = service.settings
    if not settings.allow_webhooks or settings.webhook_secret is None:
        return lambda: None
    sender = WebhookSender(
        service.store,
        settings.webhook_secret.get_secret_value(),
        timeout_s=settings.webhook_timeout_s,
        n_attempts=settings.webhook_attempts,
    )
    return lambda: sender.deliver_due(lambda job: job_view(service, job).model_dump(mode="json"))
