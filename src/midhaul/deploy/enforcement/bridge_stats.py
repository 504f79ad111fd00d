"""The counters of a bridge: what came, left and was dropped, by lane and topic."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midhaul.deploy.enforcement.pacer import Pacer

OTHERS = "(others)"
"""Where topics are counted beyond the first :data:`MAX_TOPICS`."""

MAX_TOPICS = 10_000


@dataclass(slots=True, kw_only=True)
class TopicCounts:
    """What happened to the messages of one topic; bytes are payloads.

    Attributes:
        n_in: messages that came.
        n_out: messages that the remote broker has acknowledged.
        n_dropped: messages that were dropped because a queue was full.
        n_too_large: messages that were larger than allowed.
        n_resent: messages that had to be sent again after a lost connection.
        bytes_in: of those that came.
        bytes_out: of those that were acknowledged.
        delay_s: sum of the times from coming to acknowledgement.
        max_delay_s: the longest.
    """

    n_in: int = 0
    n_out: int = 0
    n_dropped: int = 0
    n_too_large: int = 0
    n_resent: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    delay_s: float = 0.0
    max_delay_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class EndCounts:
    """How the connection to one broker went.

    Attributes:
        is_connected: whether it is up.
        n_connects: how often it came up.
        error: why it is not up, or was not last time.
    """

    is_connected: bool = False
    n_connects: int = 0
    error: str = ""


@dataclass(slots=True, kw_only=True)
class BridgeStats:
    """All counters of a bridge.

    Attributes:
        local: the connection to the local broker.
        remote: the connection to the remote broker.
        topics: counts by local topic.
        n_maps: how often a rate map was taken over.
        map_error: what is wrong with the present file; the map before it holds.
        n_in_flight: messages that were sent and not acknowledged yet.
    """

    local: EndCounts = field(default_factory=EndCounts)
    remote: EndCounts = field(default_factory=EndCounts)
    topics: dict[str, TopicCounts] = field(default_factory=dict[str, TopicCounts])
    n_maps: int = 0
    map_error: str = ""
    n_in_flight: int = 0

    def of(self, topic: str) -> TopicCounts:
        """The counts of a topic; those of many strange topics are kept together."""
        if topic not in self.topics and len(self.topics) >= MAX_TOPICS:
            topic = OTHERS
        return self.topics.setdefault(topic, TopicCounts())

    def plain(self, pacer: Pacer[Any], now_s: float) -> dict[str, Any]:
        """Everything as what JSON can hold.

        Args:
            pacer: of the bridge, for what happened in its lanes.
            now_s: time since the bridge was started.
        """
        rates_bps = pacer.rates_bps
        lanes = {
            name: {
                "rate_bps": rates_bps[name],
                "n_waiting": pacer.n_waiting(name),
                **asdict(counts),
            }
            for name, counts in pacer.counts.items()
        }
        return {"up_s": round(now_s, 3), **asdict(self), "lanes": lanes}
