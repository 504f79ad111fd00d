"""Where a request's time goes: stages that sum up to its latency.

Every request is cut into the same stages. What it did not do took 0, what nobody claims
is a stage of its own (``rest``, ``cloud_rest``), and a request that was not answered is
one stage as a whole: what its nodes did meanwhile is not known. So the stages of each
request, and their means over any requests, sum up to the latency.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

_EDGE = ("queue", "decode", "preprocess", "encode", "inference")
_CLOUD = ("backhaul", "cloud_queue", "cloud_decode", "cloud_inference")

STAGES = ("late", "network", *_EDGE, "rest", *_CLOUD, "cloud_rest", "unanswered")
"""The stages in the order of a request's way; all of them."""


def column(table: pa.Table, name: str) -> Float64[np.ndarray, " n"]:
    """A column as numbers; NaN where it is null."""
    values = table[name].cast(pa.float64())
    return values.to_numpy().astype(np.float64)


def stages_of(
    table: pa.Table,
    latency_ns: Float64[np.ndarray, " n"],
    is_ok: Bool[np.ndarray, " n"],
) -> dict[str, Float64[np.ndarray, " n"]]:
    """The stages of each request, ns; in every row they sum up to the latency.

    Args:
        table: rows of the table ``requests``.
        latency_ns: latency of each.
        is_ok: true where the answer is one.
    """

    def told(name: str) -> Float64[np.ndarray, " n"]:
        return np.where(is_ok, np.nan_to_num(column(table, f"{name}_ns")), 0.0)

    found = {name: told(name) for name in ("network", *_EDGE, *_CLOUD)}
    service, forward = told("service"), told("forward")
    own = np.sum([found[name] for name in ("network", *_EDGE)], axis=0)
    away = np.sum([found[name] for name in _CLOUD], axis=0)
    found["late"] = np.where(is_ok, latency_ns - service, 0.0)
    found["rest"] = service - own - forward
    found["cloud_rest"] = forward - away
    found["unanswered"] = np.where(is_ok, 0.0, latency_ns)
    return {name: found[name] for name in STAGES}
