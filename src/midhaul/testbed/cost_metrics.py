"""Price and energy of a configuration: models over what its cells used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.model.samples import MetricSamples
from midhaul.stats import ratio_statistic
from midhaul.testbed.cost import Energy, Prices, Usage, j_per_request, usd_per_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.testbed.config_parts import CostConfig, NodeConfig

_ACCESS = "access"
_BACKHAUL = "backhaul"
_WAYS = ("up", "down")


def cost_metrics(
    tables: dict[str, pa.Table],
    configuration: int,
    name: str,
    nodes: Sequence[NodeConfig],
    cost: CostConfig,
) -> list[MetricSamples]:
    """Dollars per thousand requests and joule per request; the unit is the block.

    What a request without an answer sent over the backhaul is not known, so where that
    costs anything these are known from below only.

    Args:
        tables: ``requests``, ``usage`` and ``cells`` of a run.
        configuration: number of the configuration.
        name: its name.
        nodes: the nodes it ran on.
        cost: the coefficients.
    """
    mine = {table: _rows_of(rows, configuration) for table, rows in tables.items()}
    usages = {
        row["block"]: _usage(row, mine["requests"], mine["usage"])
        for row in mine["cells"]
        if row["n_requests"]
    }
    if not usages:
        return []
    prices, energy = _prices(nodes, cost), _energy(nodes, cost)
    n = np.array([usage.n_requests for usage in usages.values()], np.float64)
    usd = np.array([usd_per_request(usage, prices) for usage in usages.values()])
    joule = np.array([j_per_request(usage, energy) for usage in usages.values()])
    is_open = any(row["n_errors"] for row in mine["cells"]) and any(
        node.forward != "nothing" for node in nodes
    )
    found = {
        "usd_per_1000": (1000 * usd, "USD", cost.usd_per_gb),
        "joule_per_request": (joule, "J", cost.joule_per_byte),
    }
    return [
        MetricSamples(
            metric=metric,
            configuration=name,
            units=tuple(f"block {block}" for block in usages),
            statistic=ratio_statistic(values * n, n),
            better="lower",
            unit=unit,
            known_below=-math.inf if is_open and per_byte else math.inf,
            n_stretches=len(usages),
        )
        for metric, (values, unit, per_byte) in found.items()
    ]


def _rows_of(table: pa.Table, configuration: int) -> list[dict[str, Any]]:
    is_mine = table["configuration"].to_numpy() == configuration
    return table.filter(pa.array(is_mine)).to_pylist()


def _usage(
    cell: dict[str, Any], requests: list[dict[str, Any]], usage: list[dict[str, Any]]
) -> Usage:
    """What the judged requests of a cell used.

    The monitor watches the warm-up as well, so its CPU time is shared out evenly.
    """
    block = cell["block"]
    judged = [r for r in requests if r["block"] == block and not r["is_warmup"]]
    n_all = cell["n_requests"] + cell["n_warmup"]
    cpu_s: dict[str, float] = {}
    for row in usage:
        if row["block"] == block and row["cpu_s"] is not None:
            share = row["cpu_s"] * cell["n_requests"] / n_all
            cpu_s[row["node"]] = cpu_s.get(row["node"], 0.0) + share
    return Usage(
        n_requests=cell["n_requests"],
        duration_s=cell["duration_s"],
        cpu_s=cpu_s,
        link_bytes={
            link: float(
                sum(r[f"{link}_{way}_bytes"] or 0 for r in judged for way in _WAYS)
            )
            for link in (_ACCESS, _BACKHAUL)
        },
    )


def _prices(nodes: Sequence[NodeConfig], cost: CostConfig) -> Prices:
    per_hour = {"edge": cost.edge_usd_per_hour, "cloud": cost.cloud_usd_per_hour}
    return Prices(
        usd_per_node_hour={node.name: per_hour[node.role] for node in nodes},
        usd_per_gb={_BACKHAUL: cost.usd_per_gb},
    )


def _energy(nodes: Sequence[NodeConfig], cost: CostConfig) -> Energy:
    return Energy(
        j_per_cpu_s={node.name: cost.joule_per_cpu_s for node in nodes},
        j_per_byte={_ACCESS: cost.joule_per_byte, _BACKHAUL: cost.joule_per_byte},
    )
