"""What a federation does, as Prometheus counts it."""

from __future__ import annotations

import math
from collections import Counter as Counts
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.federation.serving import Call, FederatedAnswer, Federation

CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()

_PREFIX = "midhaul_federation"
_BUCKETS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_STATES = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """Counts calls and answers; what can be read off a federation is read when asked.

    Labels are names of providers and fixed words, never of items or of providers'
    vocabularies, so that their number stays small.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = self._counter("calls", "Attempts.", "provider", "status")
        self._retries = self._counter(
            "retries", "Attempts after the first.", "provider"
        )
        self._hedges = self._counter(
            "hedges", "Second calls beside slow ones.", "provider"
        )
        self._spent = self._counter("spent_usd", "Charged, in USD.", "provider")
        self._call_s = self._histogram(
            "call_seconds", "From send to answer.", "provider"
        )
        self._answers = self._counter("answers", "Requests.", "status", "source")
        self._answer_s = self._histogram("answer_seconds", "Of requests.", "source")
        self._audits = self._counter(
            "audits", "Requests that everybody was asked about in order to learn."
        )
        self._audits_usd = self._counter(
            "audits_usd", "Charged for these requests, in USD."
        )
        self._feedback = self._counter(
            "feedback", "What people said is right, by what became of it.", "result"
        )
        self._unknown = self._counter(
            "unknown_labels", "Words that the vocabulary does not know.", "provider"
        )

    def watch(self, federation: Federation) -> None:
        """Read budgets, breakers and findings off a federation at every scrape."""
        self._registry.register(_Readings(federation))  # pyright: ignore[reportArgumentType]

    def called(self, call: Call) -> None:
        """See :class:`midhaul.federation.serving.Observer`."""
        status = f"not_sent_{call.not_sent}" if call.not_sent else call.status
        self._calls.labels(call.provider, status).inc()
        if call.not_sent:
            return
        self._call_s.labels(call.provider).observe(call.latency_s)
        self._spent.labels(call.provider).inc(call.price_usd)
        if call.is_hedge:
            self._hedges.labels(call.provider).inc()
        elif call.attempt > 1:
            self._retries.labels(call.provider).inc()

    def answered(self, answer: FederatedAnswer) -> None:
        """See :class:`midhaul.federation.serving.Observer`."""
        source = "providers"
        if answer.is_cached or answer.is_shared:
            source = "cache" if answer.is_cached else "shared"
        self._answers.labels(answer.status, source).inc()
        self._answer_s.labels(source).observe(answer.latency_s)
        if source == "providers":
            if answer.is_audit:
                self._audits.inc()
                self._audits_usd.inc(answer.cost_usd)
            for provider, _ in answer.unknown_labels:
                self._unknown.labels(provider).inc()

    def told(self, result: str) -> None:
        """Somebody said what is right about an answer."""
        self._feedback.labels(result).inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)

    def _counter(self, name: str, doc: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", doc, labels, registry=self._registry)

    def _histogram(self, name: str, doc: str, *labels: str) -> Histogram:
        return Histogram(
            f"{_PREFIX}_{name}",
            doc,
            labels,
            registry=self._registry,
            buckets=_BUCKETS_S,
        )


class _Readings:
    """A collector of what a federation can be asked."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

    def collect(self) -> Iterator[Any]:
        """Gauges and counters as they are now."""
        yield from self._of_providers()
        yield from self._of_budgets()
        federation = self._federation
        yield _gauge("cached_answers", "Answers in the cache.", federation.n_cached)
        yield _gauge(
            "requests_under_way", "Different requests.", federation.n_under_way
        )
        yield self._alarms()
        yield from self._of_learning()
        findings = CounterMetricFamily(
            f"{_PREFIX}_findings",
            "Oddities of providers' answers.",
            labels=("provider", "reason"),
        )
        for (provider, reason), count in federation.tally.counts.items():
            findings.add_metric((provider, reason), count)
        yield findings

    def _alarms(self) -> Any:
        """What an online policy has noticed; nothing where it is none."""
        found = CounterMetricFamily(
            f"{_PREFIX}_drift_alarms",
            "Changes of providers that the online policy noticed.",
            labels=("provider",),
        )
        alarms: tuple[Any, ...] = getattr(
            self._federation.knowledge.policy, "alarms", ()
        )
        for provider, count in Counts(alarm.provider for alarm in alarms).items():
            found.add_metric((provider,), count)
        return found

    def _of_learning(self) -> Iterator[Any]:
        """What an online policy does; nothing where it is none."""
        lessons = self._federation.lessons
        policy: Any = self._federation.knowledge.policy
        if not hasattr(policy, "n_refits"):
            return
        found = CounterMetricFamily(
            f"{_PREFIX}_lessons",
            "What became of the ends of requests, and of saving what was learned.",
            labels=("result",),
        )
        for result, count in dict(lessons.counts).items():
            found.add_metric((result,), count)
        yield found
        refits = CounterMetricFamily(
            f"{_PREFIX}_refits", "How often the policy was learned anew, taken or not."
        )
        refits.add_metric((), policy.n_refits)
        yield refits
        yield _gauge("auditing_more", "1 after an alarm.", float(policy.is_boosted))
        yield _gauge(
            "answers_waiting", "Answers that wait for feedback.", lessons.n_waiting
        )
        suspect = _by_provider("suspect", "1 where its answers are no reference.")
        for name in self._federation.providers:
            suspect.add_metric((name,), float(name in policy.suspects))
        yield suspect

    def _of_providers(self) -> Iterator[Any]:
        state = _by_provider("breaker_state", "0 closed, 1 half open, 2 open.")
        opened = CounterMetricFamily(
            f"{_PREFIX}_breaker_openings",
            "How often each breaker opened.",
            labels=("provider",),
        )
        waiting = _by_provider("calls_waiting", "Calls that wait for a place.")
        price = _by_provider("price_usd", "What the next call can cost, in USD.")
        federation = self._federation
        for caller, usd in zip(
            federation.callers, federation.prices_usd().tolist(), strict=True
        ):
            state.add_metric((caller.name,), _STATES[caller.breaker.state])
            opened.add_metric((caller.name,), caller.breaker.n_opened)
            waiting.add_metric((caller.name,), caller.n_waiting)
            price.add_metric((caller.name,), usd)
        yield from (state, opened, waiting, price)

    def _of_budgets(self) -> Iterator[Any]:
        left = GaugeMetricFamily(
            f"{_PREFIX}_budget_left_usd",
            "What the tightest budget of a provider's calls has left, in USD.",
            labels=("provider",),
        )
        guard = self._federation.guard
        for name in self._federation.providers:
            usd = guard.left_usd(name)
            if math.isfinite(usd):
                left.add_metric((name,), usd)
        yield left
        yield _gauge(
            "committed_usd", "Charged and reserved by the run.", guard.spent_usd
        )


def _gauge(name: str, doc: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", doc, value=value)


def _by_provider(name: str, doc: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", doc, labels=("provider",))
