"""Network problems and what ns-3 made of them, in one file that tests read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.model import Flows, Link, LinkQueue, Topology
from midhaul.network import NetworkProblem, Routes, TcpTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """A problem and the completion times that ns-3 gave its flows.

    Attributes:
        name: what it is about.
        problem: what was simulated.
        fct_ns: of each flow; -1 where it has not ended.
        n_dropped: of each link.
    """

    name: str
    problem: NetworkProblem
    fct_ns: np.ndarray
    n_dropped: np.ndarray


_ARRAYS = (
    "size_bytes",
    "start_ns",
    "source",
    "target",
    "transport",
    "after",
    "after_offsets",
)


def write_truths(file: Path, version: str, truths: list[Truth]) -> None:
    """Write truths, with the version of ns-3 that they are from."""
    arrays: dict[str, np.ndarray] = {}
    heads: list[dict[str, Any]] = []
    for i, truth in enumerate(truths):
        problem = truth.problem
        heads.append(
            {
                "name": truth.name,
                "nodes": problem.topology.nodes,
                "links": [asdict(link) for link in problem.topology.links],
                "transports": [asdict(one) for one in problem.transports],  # type: ignore[call-overload]
                "seed": problem.seed,
            }
        )
        for name in _ARRAYS:
            arrays[f"{i}_{name}"] = _small(getattr(problem.flows, name))
        arrays[f"{i}_offsets"] = _small(problem.routes.offsets)
        arrays[f"{i}_links"] = _small(problem.routes.links)
        arrays[f"{i}_fct_ns"] = _small(truth.fct_ns)
        arrays[f"{i}_n_dropped"] = _small(truth.n_dropped)
    head = json.dumps({"ns3": version, "scenarios": heads})
    arrays["head"] = np.frombuffer(head.encode(), np.uint8)
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def _small(values: np.ndarray) -> np.ndarray:
    """The same numbers in 32 bits where they fit."""
    if len(values) and values.min() >= -(1 << 31) and values.max() < 1 << 31:
        return values.astype(np.int32)
    return values


def read_truths(file: Path) -> Iterator[Truth]:
    """The truths of a file."""
    with np.load(file) as found:
        head = json.loads(found["head"].tobytes())
        for i, one in enumerate(head["scenarios"]):
            yield _truth(
                one,
                {
                    k: found[f"{i}_{k}"]
                    for k in (*_ARRAYS, "offsets", "links", "fct_ns", "n_dropped")
                },
            )


def _truth(head: dict[str, Any], arrays: dict[str, np.ndarray]) -> Truth:
    links = []
    for row in head["links"]:
        queue = row["queue"]
        for name in ("mark_from", "mark_all_from", "mark_share"):
            queue[name] = float(queue[name])
        row["queue"] = LinkQueue(**queue)
        row["rate_changes"] = tuple((t, r) for t, r in row["rate_changes"])
        links.append(Link(**row))
    wide = {name: arrays[name].astype(np.int64) for name in arrays}
    narrow = {
        name: arrays[name].astype(np.int32) for name in ("source", "target", "links")
    }
    flows: dict[str, Any] = {name: narrow.get(name, wide[name]) for name in _ARRAYS}
    problem = NetworkProblem(
        topology=Topology(nodes=tuple(head["nodes"]), links=tuple(links)),
        flows=Flows(**flows),
        routes=Routes(offsets=wide["offsets"], links=narrow["links"]),
        transports=tuple(TcpTransport(**one) for one in head["transports"]),
        seed=head["seed"],
    )
    return Truth(
        name=head["name"],
        problem=problem,
        fct_ns=wide["fct_ns"],
        n_dropped=wide["n_dropped"],
    )
