"""What is counted, in Prometheus' text form."""

__all__ = ["Counters"]

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eyewright.core.extras import import_extra

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Counters:
    """Requests by route and status, seconds of a prediction, refused predictions, what waits and runs, new workers."""

    def __init__(self, crew: Any, gauges: Callable[[], Iterable[tuple[str, str, Mapping[str, str], float]]]) -> None:
        import_extra("prometheus_client", extra="serve", what="counting requests")
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self.registry = CollectorRegistry()
        self._requests = Counter(
            "eyewright_requests", "Requests by route and status", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "eyewright_prediction_seconds", "Seconds from the end of the request body to the response", ("model",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._refused = Counter(
            "eyewright_refused", "Predictions that were refused (--refuse)", ("model", "reason"), registry=self.registry
        )
        for name, about, value in (
            ("eyewright_waiting_requests", "Requests waiting for a worker", lambda: crew.waiting),
            ("eyewright_running_requests", "Requests being processed by workers", lambda: crew.running),
            ("eyewright_workers", "Worker processes", lambda: len(crew.processes)),
            ("eyewright_worker_restarts", "Workers that died and were replaced", lambda: crew.restarts),
        ):
            Gauge(name, about, registry=self.registry).set_function(value)

        class FromMonitor:
            def collect(self) -> Iterable[Any]:
                families: dict[str, Any] = {}
                for name, about, labels, value in gauges():
                    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                    family = families.setdefault(name, kind(name, about, labels=sorted(labels)))
                    family.add_metric([labels[k] for k in sorted(labels)], value)
                return families.values()

        self.registry.register(FromMonitor())
        self._children: dict[tuple[str, int], Any] = {}
        self._of_model: dict[str, Any] = {}

    def answered(self, route: str, status: int) -> None:
        child = self._children.get((route, status))
        if child is None:
            child = self._children[route, status] = self._requests.labels(route, str(status))
        child.inc()

    def predicted(self, model: str, seconds: float) -> None:
        child = self._of_model.get(model)
        if child is None:
            child = self._of_model[model] = self._seconds.labels(model)
        child.observe(seconds)

    def refused(self, model: str, reason: str) -> None:
        self._refused.labels(model, reason).inc()

    def text(self) -> bytes:
        """Return what a Prometheus server reads."""
        from prometheus_client import generate_latest

        return bytes(generate_latest(self.registry))
