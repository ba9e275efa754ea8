"""A Grafana dashboard over the metrics of the server."""

__all__ = ["dashboard"]

from typing import Any

# Title, queries with their legends, unit. Two gauges are two queries: `or` drops the series on its right whose labels
# are those of one on its left.
_PANELS: tuple[tuple[str, tuple[tuple[str, str], ...], str], ...] = (
    (
        "Requests per second by status",
        (("sum by (status) (rate(eyewright_requests_total[5m]))", "{{status}}"),),
        "reqps",
    ),
    (
        "Errors, fraction",
        (
            (
                # Without any error there is no such series, and the share is 0.
                "(sum(rate(eyewright_requests_total{status=~'5..'}[5m])) or vector(0)) / "
                "sum(rate(eyewright_requests_total[5m]))",
                "5xx",
            ),
        ),
        "percentunit",
    ),
    (
        "Prediction time, p50",
        (("histogram_quantile(0.5, sum by (le, model) (rate(eyewright_prediction_seconds_bucket[5m])))", "{{model}}"),),
        "s",
    ),
    (
        "Prediction time, p99",
        (
            (
                "histogram_quantile(0.99, sum by (le, model) (rate(eyewright_prediction_seconds_bucket[5m])))",
                "{{model}}",
            ),
        ),
        "s",
    ),
    (
        "Waiting and running",
        (("eyewright_waiting_requests", "waiting"), ("eyewright_running_requests", "running")),
        "short",
    ),
    # A gauge: it starts at 0 with the server, and `increase` is for counters only.
    ("Workers replaced", (("eyewright_worker_restarts", "since the start"),), "short"),
    ("Drift, p of the last test", (("eyewright_drift_p_value", "{{model}}"),), "short"),
    (
        "Crossings per hour",
        (
            (
                "sum by (source, line, direction) (increase(eyewright_line_crossings_total[1h]))",
                "{{source}} {{line}} {{direction}}",
            ),
        ),
        "short",
    ),
    ("Objects in zones", (("eyewright_zone_objects", "{{source}} {{zone}}"),), "short"),
    ("Log entries not yet in the database", (("eyewright_log_waiting_entries", "waiting"),), "short"),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; it asks for the Prometheus data source.

    >>> dashboard()["title"]
    'Eyewright'
    """
    panels = []
    for k, (title, queries, unit) in enumerate(_PANELS):
        panels.append(
            {
                "id": k + 1,
                "type": "timeseries",
                "title": title,
                "datasource": {"type": "prometheus", "uid": "${DS_PROMETHEUS}"},
                "gridPos": {"x": 12 * (k % 2), "y": 8 * (k // 2), "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "targets": [
                    {"expr": query, "legendFormat": legend, "refId": "ABCDEFGH"[n]}
                    for n, (query, legend) in enumerate(queries)
                ],
            }
        )
    return {
        "__inputs": [
            {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus",
             "pluginName": "Prometheus"}
        ],
        "__requires": [{"type": "panel", "id": "timeseries", "name": "Time series", "version": ""}],
        "title": "Eyewright",
        "uid": "eyewright",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": panels,
    }  # fmt: skip
