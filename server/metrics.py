"""Numbers for Prometheus; no job id, file name or key is ever a label."""

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from server.job_types import STAGES, Observation

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_KNOWN_LABELS = {
    "avse_stage_seconds": ("stage",),
    "avse_fallback_total": ("reason",),
    "avse_decode_child_exits_total": ("reason",),
    "avse_jobs_total": ("kind", "status", "reason"),
    "avse_model_loaded": ("model",),
}
_LONGEST_LABEL = 64


class Metrics:
    """All metrics of the API process, those the model process reports included."""

    def __init__(self) -> None:
        """A registry of our own, so that tests can have several."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = self._histogram(
            "http_server_request_duration_seconds",
            "Time of HTTP requests.",
            ("http_request_method", "http_route", "http_response_status_code"),
        )
        self.rejected = Counter(
            "avse_rejected_total", "Requests refused, by code.", ("code",), registry=self.registry
        )
        self.queue_depth = self._gauge("avse_queue_depth", "Jobs that wait.")
        self.spool_bytes = self._gauge("avse_spool_bytes", "Bytes of all files of jobs.")
        self.model_loaded = self._gauge("avse_model_loaded", "1 if loaded.", ("model",))
        self._reported: dict[str, Collector] = {
            "avse_model_loaded": self.model_loaded,
            "avse_jobs_total": self._counter("avse_jobs_total", "Jobs that ended."),
            "avse_fallback_total": self._counter(
                "avse_fallback_total", "Clips enhanced without lips, by reason."
            ),
            "avse_decode_child_exits_total": self._counter(
                "avse_decode_child_exits_total", "Children that read media and ended, by reason."
            ),
            "avse_queue_wait_seconds": self._histogram(
                "avse_queue_wait_seconds", "Time jobs waited for their first start."
            ),
            "avse_stage_seconds": self._histogram(
                "avse_stage_seconds", "Time of each stage of a job.", ("stage",)
            ),
            "avse_batch_size": self._histogram(
                "avse_batch_size", "Clips in one pass.", buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32)
            ),
            "avse_rtf": self._histogram(
                "avse_rtf",
                "Length of a clip by the time of computing; 4 is four times real time.",
                buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128),
            ),
        }
        for stage in STAGES:
            self._reported["avse_stage_seconds"].labels(stage)  # type: ignore[attr-defined]

    def record(self, seen: Iterable[Observation]) -> None:
        """Take in what the model process and the store measured; unknown names are left out."""
        for observation in seen:
            collector = self._reported.get(observation.name)
            if collector is None:
                continue
            names = _KNOWN_LABELS.get(observation.name, ())
            values = [observation.labels.get(name, "")[:_LONGEST_LABEL] for name in names]
            self._add(collector, values, observation.value)

    @staticmethod
    def _add(collector: Collector, values: list[str], number: float) -> None:
        if isinstance(collector, Histogram):
            (collector.labels(*values) if values else collector).observe(number)
        elif isinstance(collector, Counter):
            (collector.labels(*values) if values else collector).inc(number)
        elif isinstance(collector, Gauge):
            (collector.labels(*values) if values else collector).set(number)

    def text(self, before: Callable[[], None] | None = None) -> bytes:
        """The exposition, after `before` has brought the gauges up to date."""
        if before is not None:
            before()
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, _KNOWN_LABELS.get(name, ()), registry=self.registry)

    def _histogram(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = _SECONDS,
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)
