"""A finished run of another area as a network: its links, and what its plan sends.

Of ``testbed.measure`` these are the links of its config, of ``deploy.plan`` its
gateways, each on its uplink, behind a backhaul for all. What a plan decided is sent
over them: each analytic uploads messages at the rate that it was granted, over the
uplink of the gateway where its sensor stands, and each pull fetches its layers from the
cloud.

Differences from what a plan counts with:

1. Messages are of one size, rate over messages per second; the headers of its model of
   transports, if it has one, are in them, and those of the simulated one come on top.
2. A pull begins when the plan says, and lasts as long as the network lets it.
3. An analytic uploads from the begin on what it was granted for where it runs at last.
4. The plan knows no delays: they are those of the usual cables, or of the config.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from midhaul.errors import DataError, suggestion
from midhaul.model import Flows, Tally
from midhaul.network.simulate.shapes import RUN_CABLES
from midhaul.network.topology.builders import CLOUD, shared_backhaul
from midhaul.network.topology.links_table import FoundTopology, of_links
from midhaul.network.workload.edge import (
    CameraUpload,
    ImagePull,
    camera_uploads,
    image_pulls,
    join_flows,
)
from midhaul.network.workload.files import FoundFlows
from midhaul.network.workload.sizes import FixedSize
from midhaul.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from midhaul.model import Topology

PLAN, MEASURE = "deploy.plan", "testbed.measure"
_FAST_BPS = 10e9
_USUAL_HZ = 1.0


def topology_of_run(
    folder: Path, cables: Sequence[tuple[str, Mapping[str, float]]] = ()
) -> FoundTopology:
    """The network of a run.

    Args:
        folder: of the run.
        cables: ``uplinks`` or ``backhaul``, and in what those of a plan are otherwise.

    Raises:
        StoreError: there is no run in the folder.
        DataError: the run is of another kind, or has no links.
    """
    run = Run.open(folder)
    config = run.config_values()
    if run.manifest.kind == MEASURE:
        if cables:
            message = f"run {run.id}: its links are told by the run, found cables"
            raise DataError(message, "leave out topology.cables, or change the run")
        return _measured(run.id, config.get("links", []))
    if run.manifest.kind != PLAN:
        message = f"run {run.id}: expected {PLAN} or {MEASURE}, found "
        raise DataError(message + run.manifest.kind)
    usual = {
        name: replace(
            cable,
            **{k: v for of, told in cables if of == name for k, v in told.items()},
        )
        for name, cable in RUN_CABLES.items()
    }
    told = {key for of, keys in cables if of == "uplinks" for key in keys}
    gateways = config["gateways"]
    uplinks = {
        gateway["name"]: replace(
            usual["uplinks"],
            **{
                key: gateway[of]
                for key, of in (
                    ("rate_bps", "uplink_bps"),
                    ("back_rate_bps", "downlink_bps"),
                )
                if key not in told
            },
        )
        for gateway in gateways
    }
    backhaul = usual["backhaul"]
    if "backhaul_bps" in config:
        backhaul = replace(backhaul, back_rate_bps=config["backhaul_bps"])
    assumed = Tally(
        what="gateways' delays are not told by the plan and those of the usual cables",
        n=0 if "delay_s" in told else len(gateways),
        of=len(gateways),
        max_share=1.0,
        advice='Say them: [[topology.cables]] with name = "uplinks" and delay_s.',
    )
    return FoundTopology(
        topology=shared_backhaul(uplinks, backhaul=backhaul), tallies=(assumed,)
    )


def _measured(run: str, links: Sequence[Mapping[str, Any]]) -> FoundTopology:
    """The links of a testbed, each way by itself."""
    if not links:
        message = f"run {run}: expected shaped links, found none"
        raise DataError(message, "its nodes talked over bare loopback")
    rows: list[dict[str, Any]] = []
    n_unlimited = 0
    for link in links:
        rate = link.get("rate_bps")
        ways = (
            (link["source"], link["target"], rate),
            (link["target"], link["source"], link.get("back_rate_bps", rate)),
        )
        for source, target, bps in ways:
            n_unlimited += bps is None
            rows.append(
                {
                    "source": source,
                    "target": target,
                    "rate_bps": _FAST_BPS if bps is None else bps,
                    "delay_s": link.get("delay_s", 0.0),
                }
            )
    assumed = Tally(
        what=f"links were unlimited, and have {_FAST_BPS / 1e9:g} Gbit/s here",
        n=n_unlimited,
        of=len(rows),
        max_share=1.0,
        advice="Give the links of the testbed a rate.",
    )
    found = of_links(rows, where=f"run {run}: links")
    return replace(found, tallies=(*found.tallies, assumed))


def flows_of_run(
    folder: Path,
    topology: Topology,
    *,
    configuration: str = "",
    name: str = "plan",
    rate_hz: float | None = None,
    duration_s: float | None = None,
    n_parallel: int = 3,
    seed: int = 0,
) -> FoundFlows:
    """What a plan sends and fetches.

    Args:
        folder: of a run of ``deploy.plan``.
        topology: whose nodes are the plan's gateways and the cloud.
        configuration: whose decisions; the first one's by default.
        name: of the classes of flows, ``NAME uploads`` and ``NAME pulls``.
        rate_hz: messages per second of analytics whose curve says none; 1 by default.
        duration_s: how long; the plan's slot by default.
        n_parallel: layers fetched at a time.
        seed: from which the phases of messages follow.

    Raises:
        StoreError: there is no run in the folder.
        DataError: it is no plan, has no such configuration, or sends nothing.
    """
    run = Run.open(folder)
    if run.manifest.kind != PLAN:
        message = f"run {run.id}: expected {PLAN}, found {run.manifest.kind}"
        raise DataError(message)
    number = _number_of(run, configuration)
    span_s = duration_s or float(run.config_values()["slot_s"])
    cameras, n_assumed = _uploads(run, number, rate_hz or _USUAL_HZ, f"{name} uploads")
    pulls, n_late = _pulls(run, number, span_s, n_parallel, f"{name} pulls")
    if not cameras and not pulls:
        message = f"run {run.id}: the plan uploads and pulls nothing"
        raise DataError(message, "another configuration of it may")
    parts: list[Flows] = []
    if cameras:
        parts.append(camera_uploads(topology, cameras, horizon_s=span_s, seed=seed))
    if pulls:
        parts.append(image_pulls(topology, pulls))
    has_peers = bool(run.config_values().get("has_peer_pulls"))
    n_pulls = len(pulls) + n_late
    return FoundFlows(
        flows=join_flows(parts),
        tallies=(
            Tally(
                what="analytics' curves say nothing of messages per second",
                n=n_assumed,
                of=max(1, len(cameras)),
                max_share=1.0,
                advice=f"rate_hz is taken, {rate_hz or _USUAL_HZ:g} a second.",
            ),
            Tally(
                what=f"pulls begin after {span_s:g} s and are left out",
                n=n_late,
                of=max(1, n_pulls),
                max_share=0.0,
                advice="Raise duration_s.",
            ),
            Tally(
                what="pulls may be from other gateways, and come from the cloud here",
                n=len(pulls) if has_peers else 0,
                of=max(1, n_pulls),
                max_share=1.0,
                advice="Plan without has_peer_pulls.",
            ),
        ),
    )


def _number_of(run: Run, configuration: str) -> int:
    """The number of a configuration; DataError if the run has none of the name."""
    rows = run.sql("SELECT configuration, name FROM configurations").to_pylist()
    known = {row["name"]: int(row["configuration"]) for row in rows}
    if not known:
        message = f"run {run.id} has no plan"
        raise DataError(message, "it was killed before the first was made")
    if not configuration:
        return min(known.values())
    if configuration not in known:
        near = suggestion(configuration, known)
        message = f"run {run.id} has no configuration {configuration!r}{near}"
        raise DataError(message, f"there are: {', '.join(known)}")
    return known[configuration]


def _uploads(
    run: Run, number: int, rate_hz: float, label: str
) -> tuple[list[CameraUpload], int]:
    """Uploads of the analytics that were granted a rate, and how many lack a pace."""
    rows = run.sql(
        f"SELECT * FROM decisions WHERE configuration = {number} "  # noqa: S608
        "AND rate_bps > 0 ORDER BY analytic"
    ).to_pylist()
    uploads: list[CameraUpload] = []
    n_assumed = 0
    for row in rows:
        if "sensor" not in row:
            message = f"run {run.id} does not say where sensors stand"
            raise DataError(message, "it was made by an older midhaul: plan again")
        pace_hz = row["message_hz"] or 0.0
        n_assumed += not pace_hz
        pace_hz = pace_hz or rate_hz
        size = FixedSize(mean_bytes=max(1.0, row["rate_bps"] / 8 / pace_hz))
        uploads.append(
            CameraUpload(
                source=row["sensor"],
                target=CLOUD,
                frame_hz=pace_hz,
                sizes=size,
                label=label,
            )
        )
    return uploads, n_assumed


def _pulls(
    run: Run, number: int, span_s: float, n_parallel: int, label: str
) -> tuple[list[ImagePull], int]:
    """Pulls that begin in time, each with its layers, and how many do not."""
    rows = run.sql(
        f"SELECT * FROM pulls WHERE configuration = {number} "  # noqa: S608
        "ORDER BY begins_s, gateway, image"
    ).to_pylist()
    layers = run.sql(
        f"SELECT * FROM layers WHERE configuration = {number} "  # noqa: S608
        "AND NOT is_present ORDER BY gateway, digest"
    ).to_pylist()
    fetched: set[tuple[str, str]] = set()
    pulls: list[ImagePull] = []
    n_late = 0
    for row in rows:
        mine = [
            layer
            for layer in layers
            if layer["gateway"] == row["gateway"]
            and row["image"] in layer["images"]
            and (layer["gateway"], layer["digest"]) not in fetched
            and layer["compressed_bytes"] > 0
        ]
        fetched |= {(layer["gateway"], layer["digest"]) for layer in mine}
        if not math.isfinite(row["begins_s"]) or row["begins_s"] >= span_s:
            n_late += 1
        elif mine:
            pulls.append(
                ImagePull(
                    source=CLOUD,
                    target=row["gateway"],
                    start_s=row["begins_s"],
                    layers_bytes=tuple(int(x["compressed_bytes"]) for x in mine),
                    n_parallel=n_parallel,
                    label=label,
                )
            )
    return pulls, n_late
