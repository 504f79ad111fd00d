"""Request records: what became of one request, and its row in the table ``requests``.

A *target* is where requests go, a *reply* what comes back: all that the load generator
needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Reply(Protocol):
    """The answer to a request; a failure is an answer too."""

    @property
    def status(self) -> str:
        """``ok``, or what went wrong: timeout, refused, broken, http-CODE."""
        ...

    @property
    def error(self) -> str | None:
        """What the node or the client said; none when ok."""
        ...

    @property
    def meta(self) -> Mapping[str, object]:
        """What the answer says about itself, by column name."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Body sent."""
        ...

    @property
    def received_bytes(self) -> int:
        """Body of the answer."""
        ...


class Target(Protocol):
    """Where requests go."""

    async def send(
        self, node: str, images: Sequence[str], *, timeout_s: float
    ) -> Reply:
        """Ask a node about some images; time-outs and failures are replies."""
        ...


# Durations and byte counts that an answer may bring under the name of their column.
_FROM_META = (
    "queue_ns",
    "decode_ns",
    "preprocess_ns",
    "encode_ns",
    "inference_ns",
    "forward_ns",
    "cloud_queue_ns",
    "cloud_decode_ns",
    "cloud_inference_ns",
    "node_ns",
    "backhaul_ns",
    "backhaul_up_bytes",
    "backhaul_down_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request of the workload, whatever became of it.

    Attributes:
        request: its number in the cell, from 0, warm-up included.
        is_warmup: true before the cell was steady.
        node: name of the node that was asked.
        images: ids of the images sent.
        planned_ns: when it should have been sent, since the cell began.
        sent_ns: when it was handed to the client, since the cell began.
        done_ns: when its answer was decoded or given up, since the cell began.
        status: ``ok``, or what went wrong.
        error: what the node or the client said; null when ok.
        sent_bytes: body sent.
        received_bytes: body of the answer.
        meta: what the answer says about itself; durations and bytes by column name.
    """

    request: int
    is_warmup: bool
    node: str
    images: tuple[str, ...]
    planned_ns: int
    sent_ns: int
    done_ns: int
    status: str
    error: str | None
    sent_bytes: int
    received_bytes: int
    meta: Mapping[str, object]

    @property
    def is_ok(self) -> bool:
        """True when the answer is one."""
        return self.status == "ok"

    @property
    def latency_ns(self) -> int:
        """What a user of the system waits: from the planned send."""
        return self.done_ns - self.planned_ns

    @property
    def service_ns(self) -> int:
        """From the actual send."""
        return self.done_ns - self.sent_ns

    @property
    def lateness_ns(self) -> int:
        """What the generator itself added: actual minus planned send."""
        return self.sent_ns - self.planned_ns

    def row(self, *, configuration: int, block: int) -> dict[str, object]:
        """The record as a row of the table ``requests``."""
        node_ns = self.meta.get("node_ns")
        return {
            "configuration": configuration,
            "block": block,
            "request": self.request,
            "is_warmup": self.is_warmup,
            "node": self.node,
            "images": list(self.images),
            "status": self.status,
            "error": self.error,
            "answered_by": self.meta.get("answered_by"),
            "planned_ns": self.planned_ns,
            "sent_ns": self.sent_ns,
            "done_ns": self.done_ns,
            "latency_ns": self.latency_ns,
            "service_ns": self.service_ns,
            "network_ns": self.service_ns - node_ns
            if isinstance(node_ns, int)
            else None,
            "access_up_bytes": self.sent_bytes,
            "access_down_bytes": self.received_bytes,
            **{name: self.meta.get(name) for name in _FROM_META},
        }
