"""The platform's metrics, summed over all processes of a node.

`PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported: then every process (API
replicas, actors) writes to files there and any of them can render the exact sums. Without it the
metrics are those of this process alone. Labels are enumerations, never ids.
"""

from __future__ import annotations

import os
import re
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from sep_ray.execution.ports import EndpointState, EndpointStatus
from sep_ray.intent.intent import Intent

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_OF_PROCESS: Final = re.compile(r"gauge_live\w+_(\d+)\.db")

intents_submitted: Final = Counter(
    "intents_submitted_total", "Intents made durable", ["type", "chain_id"]
)
intents_completed: Final = Counter(
    "intents_completed_total", "Intents that ended with an effect, or had none to make", ["type"]
)
intents_failed: Final = Counter(
    "intents_failed_total", "Intents that ended otherwise, cancelled ones too", ["type", "reason"]
)
intent_processing_seconds: Final = Histogram(
    "intent_processing_seconds",
    "From acceptance to the end",
    ["type"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600),
)
redis_operations: Final = Counter("redis_operations_total", "Calls to Redis", ["op", "outcome"])
websocket_connections_active: Final = Gauge(
    "websocket_connections_active", "Open event streams", multiprocess_mode="livesum"
)
attempt_events: Final = Counter(
    "attempt_events_total", "What happened to transactions", ["event", "chain_id", "purpose"]
)
pool_events: Final = Counter(
    "pool_events_total",
    "Pools that were stopped or came back, by cause",
    ["event", "chain_id", "cause"],
)
gas_used: Final = Histogram(
    "gas_used",
    "Gas of transactions that landed",
    ["chain_id", "purpose"],
    buckets=(50_000, 100_000, 150_000, 200_000, 300_000, 500_000, 1_000_000, 3_000_000),
)
_ENDPOINT: Final = ["chain_id", "endpoint"]
endpoint_up: Final = Gauge(
    "endpoint_up",
    "1 for an endpoint that answers, keeps up and was caught at nothing",
    _ENDPOINT,
    multiprocess_mode="livemostrecent",
)
endpoint_latency_seconds: Final = Gauge(
    "endpoint_latency_seconds", "Moving average", _ENDPOINT, multiprocess_mode="livemostrecent"
)
endpoint_lag_blocks: Final = Gauge(
    "endpoint_lag_blocks",
    "Behind the best known head",
    _ENDPOINT,
    multiprocess_mode="livemostrecent",
)
endpoint_offences: Final = Gauge(
    "endpoint_offences",
    "Contradictions caught, the hour's",
    _ENDPOINT,
    multiprocess_mode="livemostrecent",
)
requests_refused: Final = Counter(
    "requests_refused_total", "Requests answered with a problem", ["code"]
)


def submitted(intents: Iterable[Intent]) -> None:
    """Count intents that have become durable."""
    for (kind, chain_id), count in Tally((each.type, each.chain_id) for each in intents).items():
        intents_submitted.labels(kind.value, str(chain_id)).inc(count)


def endpoints(chain_id: int, found: Iterable[EndpointStatus]) -> None:
    """Publish how a chain's endpoints are; they are labelled by their place in the settings."""
    for place, each in enumerate(found, 1):
        labels = str(chain_id), str(place)
        endpoint_up.labels(*labels).set(each.state is EndpointState.OK)
        endpoint_latency_seconds.labels(*labels).set((each.latency_ms or 0) / 1_000)
        endpoint_lag_blocks.labels(*labels).set(each.lag_blocks)
        endpoint_offences.labels(*labels).set(each.offences)


class ProcessMeter:
    """Where an executor's figures go. Implements the engine's Meter port."""

    def count(self, name: str, labels: Mapping[str, str], by: int = 1) -> None:
        """Add to `attempt_events_total`, or for a label of a cause to `pool_events_total`."""
        chain_id, purpose = labels.get("chain_id", ""), labels.get("purpose", "")
        if "cause" in labels:
            pool_events.labels(name, chain_id, labels["cause"]).inc(by)
            return
        attempt_events.labels(name, chain_id, purpose).inc(by)

    def observe(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Record gas."""
        if name == "gas_used":
            gas_used.labels(labels.get("chain_id", ""), labels.get("purpose", "")).observe(value)


def exposition() -> bytes:
    """Return all metrics as text: of all processes of the node, or else of this one."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return generate_latest(REGISTRY)
    forget_dead(Path(folder))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_dead(folder: Path) -> None:
    """Remove what killed processes left in gauges; counters and histograms keep their past."""
    for file in folder.glob("gauge_live*.db"):
        match = _OF_PROCESS.fullmatch(file.name)
        if match and not Path("/proc", match[1]).exists():
            file.unlink(missing_ok=True)
