"""What a served memory does, as Prometheus counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from midhaul.memory.serving.messages import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.memory.serving.engine import ServedMemory
    from midhaul.memory.serving.snapshots import Snapshots
    from midhaul.memory.serving.store import MemoryStore

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()

_PREFIX = "midhaul_memory"
_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
)  # fmt: skip
_COUNTED = {
    "n_offered": ("offered", "Samples that were offered."),
    "n_kept": ("kept", "Samples that were kept when they were offered."),
    "n_predicted": ("predicted", "Samples that the service's own model looked at."),
    "n_clock_back": ("clock_back", "Samples older than others before their batch."),
    "n_outside_bins": ("outside_bins", "Outputs outside of all bins, in an end one."),
    "n_without_output": ("without_output", "Samples offered without their output."),
    "n_labelled": ("labelled", "Late outputs of samples in memory."),
    "n_labels_gone": ("labels_gone", "Late outputs of samples not in memory."),
    "n_decisions": ("decisions", "Times that the rule was asked."),
    "n_retrain_decisions": ("retrain_decisions", "Times that it said to retrain."),
    "n_retrained": ("retrained", "New models."),
    "n_merged": ("merged", "Memories that were merged into this one."),
}


class MemoryMetrics:
    """Counts answers; what a memory counts itself is read off it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._refused = Counter(
            f"{_PREFIX}_refused",
            "Requests that were refused, by reason.",
            ("reason",),
            registry=self._registry,
        )
        self._offer_s = Histogram(
            f"{_PREFIX}_offer_seconds",
            "From the body of an offer to its answer.",
            registry=self._registry,
            buckets=_BUCKETS_S,
        )

    def watch(
        self, engine: ServedMemory, store: MemoryStore, snapshots: Snapshots
    ) -> None:
        """Read what a memory counts at every scrape."""
        readings = _MemoryReadings(engine, store, snapshots)
        self._registry.register(readings)  # pyright: ignore[reportArgumentType]

    def refused(self, reason: str) -> None:
        """Somebody was refused."""
        self._refused.labels(reason).inc()

    def offered(self, seconds: float) -> None:
        """A batch was answered."""
        self._offer_s.observe(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)


class _MemoryReadings:
    """A collector of what a memory can be asked."""

    def __init__(
        self, engine: ServedMemory, store: MemoryStore, snapshots: Snapshots
    ) -> None:
        self._engine = engine
        self._store = store
        self._snapshots = snapshots

    def collect(self) -> Iterator[Any]:
        """Gauges and counters as they are now."""
        engine = self._engine
        for key, (name, said) in _COUNTED.items():
            yield _counter(name, said, engine.counts[key])
        uploads = self._by_reason("uploads", "Samples to be sent on.")
        beyond = self._by_reason("uploads_beyond", "Worth it, beyond the budget.")
        for reason, sent, more in zip(
            REASONS, engine.uploads.n_uploads, engine.uploads.n_beyond, strict=True
        ):
            uploads.add_metric((reason,), float(sent))
            beyond.add_metric((reason,), float(more))
        yield from (uploads, beyond)
        memory = engine.memory
        yield _gauge("samples", "Samples in memory.", len(memory))
        yield _gauge("capacity", "Samples at most.", memory.selector.capacity)
        yield _gauge("model_version", "Of the present model.", engine.version)
        yield _gauge(
            "other_model", "Samples in memory of other models.", engine.n_other_model
        )
        yield _gauge(
            "since_decision", "Samples that the next decision sees.", len(engine.since)
        )
        yield _gauge(
            "since_decision_left_out",
            "Samples since the last decision that it does not see.",
            engine.since.n_left_out,
        )
        journal, snapshots = self._store.journal, self._snapshots
        yield _gauge("journal_bytes", "Since the last snapshot.", journal.n_bytes)
        yield _gauge("journal_broken", "1 where nothing is taken.", journal.is_broken)
        yield _counter("snapshots", "Snapshots written.", snapshots.n_written)
        yield _counter("snapshots_failed", "Not written.", snapshots.n_failed)

    def _by_reason(self, name: str, said: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"{_PREFIX}_{name}", said, labels=("reason",))


def _counter(name: str, said: str, value: float) -> CounterMetricFamily:
    found = CounterMetricFamily(f"{_PREFIX}_{name}", said)
    found.add_metric((), value)
    return found


def _gauge(name: str, said: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", said, value=value)
