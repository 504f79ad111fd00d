"""What an edge makes of its cloud's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError

if TYPE_CHECKING:
    from midhaul.wire import Answer


def said_by_cloud(answer: Answer, forward_ns: int) -> dict[str, Any]:
    """The cloud's durations and bytes, under the names that the edge reports."""
    said: dict[str, Any] = {
        "forward_ns": forward_ns,
        "backhaul_up_bytes": answer.sent_bytes,
        "backhaul_down_bytes": answer.received_bytes,
    }
    for name in ("queue_ns", "decode_ns", "inference_ns", "node_ns"):
        value: object = answer.meta.get(name)
        if not isinstance(value, int):
            message = f"the cloud's answer has no {name}"
            raise DataError(message)
        said[f"cloud_{name}"] = value
    said["backhaul_ns"] = forward_ns - said.pop("cloud_node_ns")
    return said


def gateway_status(answer: Answer) -> int:
    """What an edge answers when its cloud did not: bad input stays bad input."""
    if answer.status == "timeout":
        return 504
    return 422 if answer.status == "http-422" else 502
