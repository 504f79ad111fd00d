"""How a federation answers: times, limits, retries, breakers, hedging, cache."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Gt, Le

from midhaul.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.model import PredictionStatus

RetriedStatus = Literal["timeout", "throttled", "unavailable", "malformed"]
"""Failures after which it can help to ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """When a failed call is made again.

    Attributes:
        attempts: calls at most, the first one included. With 1 there is no retry.
        base_s: the first wait is drawn from 0 to this. The next ones are drawn from 0
            to twice the one before.
        cap_s: no wait is drawn from more than this.
        statuses: failures after which a call is made again; each is paid again. To ask
            twice is safe, as a call changes nothing at the far end, but a call that
            timed out may have been billed.
        share: retries for each call that succeeds. They are over a stock of ``burst``:
            when everything fails, retries must not make it worse.
        burst: retries before that share counts.
    """

    attempts: Annotated[int, Ge(1), Le(10)] = 3
    base_s: Annotated[float, Ge(0)] = 0.1
    cap_s: Annotated[float, Ge(0)] = 2.0
    statuses: tuple[RetriedStatus, ...] = ("throttled", "unavailable")
    share: Annotated[float, Ge(0), Le(1)] = 0.2
    burst: Annotated[int, Ge(0)] = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """When a provider is left alone for a while.

    Attributes:
        window_s: calls that ended in this time count.
        n_calls: fewer calls than this say nothing.
        failure_rate: share of failures that opens it.
        open_s: how long nobody is asked then.
        n_probes: calls that must succeed to close it again. As many are let through at
            the same time, and one that fails opens it again.
        statuses: calls that count as failures. A refusal is the image's fault.
        fatal: calls of which one alone opens the breaker.
    """

    window_s: Annotated[float, Gt(0)] = 10.0
    n_calls: Annotated[int, Ge(1)] = 10
    failure_rate: Annotated[float, Gt(0), Le(1)] = 0.5
    open_s: Annotated[float, Ge(0)] = 15.0
    n_probes: Annotated[int, Ge(1)] = 2
    statuses: tuple[PredictionStatus, ...] = (
        "timeout",
        "throttled",
        "unavailable",
        "malformed",
    )
    fatal: tuple[PredictionStatus, ...] = ("unreachable", "denied")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """How one provider is called.

    Attributes:
        timeout_s: of one attempt.
        n_at_once: most calls at the same time.
        rate_hz: most calls per second; infinite for any number.
        burst: calls at once before the rate counts.
        hedge_after_s: ask a second time where there is no answer by then; both are
            paid. The one that answers first is taken.
        retry: when a failed call is made again.
        breaker: when it is left alone.

    Raises:
        ConfigError: something is not in range.
    """

    timeout_s: Annotated[float, Gt(0)] = 5.0
    n_at_once: Annotated[int, Ge(1), Le(4096)] = 64
    rate_hz: Annotated[float, Gt(0)] = math.inf
    burst: Annotated[int, Ge(1)] = 1
    hedge_after_s: Annotated[float | None, Gt(0)] = None
    retry: RetrySettings = field(default_factory=RetrySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)

    def __post_init__(self) -> None:
        """Check the ranges."""
        positive = {
            "timeout_s": self.timeout_s,
            "n_at_once": self.n_at_once,
            "rate_hz": self.rate_hz,
            "burst": self.burst,
            "retry.attempts": self.retry.attempts,
            "breaker.window_s": self.breaker.window_s,
            "breaker.n_probes": self.breaker.n_probes,
            "breaker.failure_rate": self.breaker.failure_rate,
        }
        for name, value in positive.items():
            if not value > 0:
                message = f"{name} must be above 0, found {value}"
                raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """How answers are kept.

    Attributes:
        n_answers: most answers kept; 0 keeps none.
        max_age_s: older ones are not given out.
    """

    n_answers: Annotated[int, Ge(0)] = 10_000
    max_age_s: Annotated[float, Gt(0)] = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """How a policy that learns is told how requests ended.

    Attributes:
        wait_s: how long an answer waits for feedback; 0 takes none.
        n_waiting: most answers that wait; beyond it the oldest waits no longer.
        n_queued: most lessons that wait to be learned; more are dropped, and counted.
        save_s: it is saved at least so often, and at once after an alarm or a new
            policy.
    """

    wait_s: float = 0.0
    n_waiting: Annotated[int, Ge(1)] = 1000
    n_queued: int = 1000
    save_s: Annotated[float, Ge(0)] = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationSettings:
    """How a federation answers.

    Attributes:
        deadline_s: of an answer, where the request says none.
        margin_s: kept back of it, to fuse and to send.
        n_at_once: requests worked on at the same time, the others wait in line; twice
            as many as all providers' n_at_once if absent. So places are filled, and
            calls under way do not wait for the work of others.
        fallback: who is tried where all asked have failed; by price if absent.
        cache: how answers are kept.
        version: of whatever decides about an answer and is not the image (policy,
            vocabulary, fuser); part of the key of the cache.
        learns_in_thread: an online policy learns beside the requests, not in line.
        learning: how it is told how requests ended.
        seed: of whatever is left to chance.
    """

    deadline_s: Annotated[float, Gt(0)] = 10.0
    margin_s: Annotated[float, Ge(0)] = 0.02
    n_at_once: Annotated[int | None, Ge(1)] = None
    fallback: tuple[str, ...] | None = None
    cache: CacheSettings = field(default_factory=CacheSettings)
    version: str = ""
    learns_in_thread: bool = True
    learning: LearningSettings = field(default_factory=LearningSettings)
    seed: Annotated[int, Ge(0)] = 0


def check_names(
    providers: Sequence[str],
    limits: Mapping[str, ProviderSettings],
    settings: FederationSettings,
) -> None:
    """Demand unique providers, and settings of none but them, or ConfigError."""
    if not providers or len(set(providers)) != len(providers):
        message = f"providers must be there, and unique, found: {', '.join(providers)}"
        raise ConfigError(message, "give each a name of its own")
    for name in (*limits, *(settings.fallback or ())):
        if name not in providers:
            message = f"there is no provider {name}"
            raise ConfigError(message, f"there are {', '.join(providers)}")
