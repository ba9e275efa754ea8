"""A Grafana dashboard over the metrics of the server."""

__all__ = ["dashboard"]

from typing import Any

_PANELS = (
    ("Requests a second by status", "sum by (status) (rate(eyewright_requests_total[5m]))", "reqps"),
    (
        "Errors, share",
        "sum(rate(eyewright_requests_total{status=~'5..'}[5m])) / sum(rate(eyewright_requests_total[5m]))",
        "percentunit",
    ),
    (
        "Prediction time, p50",
        "histogram_quantile(0.5, sum by (le, model) (rate(eyewright_prediction_seconds_bucket[5m])))",
        "s",
    ),
    (
        "Prediction time, p99",
        "histogram_quantile(0.99, sum by (le, model) (rate(eyewright_prediction_seconds_bucket[5m])))",
        "s",
    ),
    ("Waiting and running", "eyewright_waiting_requests or eyewright_running_requests", "short"),
    ("Workers replaced", "increase(eyewright_worker_restarts[1h])", "short"),
    ("Drift, p of the last test", "eyewright_drift_p_value", "short"),
    ("Log entries not yet in the database", "eyewright_log_waiting_entries", "short"),
)


def dashboard() -> dict[str, Any]:
    """Give the dashboard as Grafana imports it; it asks for the Prometheus data source.

    >>> dashboard()["title"]
    'Eyewright'
    """
    panels = []
    for k, (title, query, unit) in enumerate(_PANELS):
        panels.append(
            {
                "id": k + 1,
                "type": "timeseries",
                "title": title,
                "datasource": {"type": "prometheus", "uid": "${DS_PROMETHEUS}"},
                "gridPos": {"x": 12 * (k % 2), "y": 8 * (k // 2), "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "targets": [{"expr": query, "refId": "A"}],
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
