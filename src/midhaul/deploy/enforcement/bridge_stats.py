"""The counters of a bridge: what came, left and was dropped, by lane and topic."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHERS = "(others)"
"""Where topics are counted that are silent, or come after :data:`MAX_TOPICS`."""

MAX_TOPICS = 1000

Cause = Literal[
    "full", "too_large", "expired", "looped", "refused", "no_lane", "no_name", "stopped"
]
"""Why a message was dropped, see :class:`TopicCounts`."""


@dataclass(slots=True, kw_only=True)
class TopicCounts:
    """What happened to the messages of one topic; bytes are payloads.

    At every time, ``n_in = n_out + n_dropped + n_queued``, and ``n_dropped`` is the sum
    of what follows it up to ``n_stopped``.

    Attributes:
        n_in: messages that came.
        n_out: messages that the other broker has acknowledged; of QoS 0, that were
            handed to the connection.
        n_queued: messages that wait, or were sent and are not acknowledged.
        n_dropped: messages that were dropped, for whatever cause.
        n_full: dropped because a queue was full.
        n_too_large: dropped because they were larger than allowed.
        n_expired: dropped because their own message expiry has passed.
        n_looped: dropped because they had been here before.
        n_refused: dropped because the other broker refused them.
        n_no_lane: dropped because no filter of the rate map has them any more.
        n_no_name: dropped because their new topic is none.
        n_stopped: dropped because the bridge was stopped, without a queue on disk.
        n_resent: messages that had to be sent again after a lost connection.
        n_maybe_twice: messages that may have arrived twice: sent again by this bridge,
            or to it.
        bytes_in: of those that came.
        bytes_out: of those that were acknowledged.
        delay_s: sum of the times from coming to acknowledgement.
        max_delay_s: the longest.
    """

    n_in: int = 0
    n_out: int = 0
    n_queued: int = 0
    n_dropped: int = 0
    n_full: int = 0
    n_too_large: int = 0
    n_expired: int = 0
    n_looped: int = 0
    n_refused: int = 0
    n_no_lane: int = 0
    n_no_name: int = 0
    n_stopped: int = 0
    n_resent: int = 0
    n_maybe_twice: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    delay_s: float = 0.0
    max_delay_s: float = 0.0

    def plain(self) -> dict[str, float]:
        """As what JSON can hold; causes of drops only where they occurred."""
        found = {name: getattr(self, name) for name in _NAMES}
        return {k: v for k, v in found.items() if v or k not in _CAUSES}

    def drop(self, cause: Cause) -> None:
        """One of those that were queued is dropped."""
        self.n_queued -= 1
        self.n_dropped += 1
        name = f"n_{cause}"
        setattr(self, name, getattr(self, name) + 1)

    def add(self, other: TopicCounts) -> None:
        """Count together."""
        for name in _NAMES:
            mine, theirs = getattr(self, name), getattr(other, name)
            is_longest = name == "max_delay_s"
            setattr(self, name, max(mine, theirs) if is_longest else mine + theirs)


_NAMES = tuple(one.name for one in fields(TopicCounts))
_CAUSES = {f"n_{cause}" for cause in get_args(Cause)}


@dataclass(slots=True, kw_only=True)
class EndCounts:
    """How the connection to one broker went.

    Attributes:
        is_connected: whether it is up.
        n_connects: how often it came up.
        n_sessions_lost: how often the broker had forgotten what it kept for this
            client; what was published meanwhile is lost, and not known.
        n_copies: copies of one message that came because filters overlap; only the
            first one is counted as a message.
        error: why it is not up, or was not last time.
        protocol: version of MQTT.
        cannot: what cannot be had from this broker.
        refused: filters that it refuses.
    """

    is_connected: bool = False
    n_connects: int = 0
    n_sessions_lost: int = 0
    n_copies: int = 0
    error: str = ""
    protocol: str = ""
    cannot: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])


class FlowStats:
    """The counters of one direction, by topic, and which have changed.

    Args:
        before: what was counted before the bridge was started.
        now_s: when that is, on the clock of all other calls.
    """

    def __init__(self, before: Mapping[str, Mapping[str, float]], now_s: float) -> None:
        self.topics: dict[str, TopicCounts] = {
            topic: TopicCounts(**{k: v for k, v in counts.items() if k in _NAMES})  # type: ignore[arg-type]
            for topic, counts in before.items()
        }
        self._changed: dict[str, None] = {}
        self._touched_s = dict.fromkeys(self.topics, now_s)

    def of(self, topic: str, now_s: float) -> TopicCounts:
        """The counts of a topic, to be changed; strange ones are kept together."""
        if topic not in self.topics and len(self.topics) >= MAX_TOPICS:
            topic = OTHERS
        self._changed[topic] = None
        self._touched_s[topic] = now_s
        return self.topics.setdefault(topic, TopicCounts())

    def fold(self, before_s: float) -> list[str]:
        """Count silent topics of which nothing waits with the others; their names."""
        gone = [
            topic
            for topic, counts in self.topics.items()
            if topic != OTHERS
            and not counts.n_queued
            and self._touched_s[topic] < before_s
        ]
        for topic in gone:
            self.of(OTHERS, before_s).add(self.topics.pop(topic))
            del self._touched_s[topic]
            self._changed.pop(topic, None)
        return gone

    def changed(self) -> dict[str, TopicCounts]:
        """What has changed since this was asked last."""
        found = {topic: self.topics[topic] for topic in self._changed}
        self._changed.clear()
        return found

    def plain(self) -> dict[str, Any]:
        """Totals and topics, as what JSON can hold; causes only where they occurred."""
        topics = {topic: counts.plain() for topic, counts in self.topics.items()}
        total = TopicCounts().plain()
        for counts in topics.values():
            for name, value in counts.items():
                before = total.get(name, 0)
                is_longest = name == "max_delay_s"
                total[name] = max(before, value) if is_longest else before + value
        return {"total": total, "topics": topics}
