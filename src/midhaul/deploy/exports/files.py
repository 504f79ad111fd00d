"""A folder that a person can apply: every export of a plan, and how to use each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.deploy.enforcement.htb import LEAST_BPS
from midhaul.deploy.enforcement.rate_map import replace_text
from midhaul.deploy.exports.kubernetes import (
    kubeedge_prepulls,
    pods,
    prepull_jobs,
    to_yaml,
)
from midhaul.deploy.exports.network import bridge_file, rate_map, tc_script
from midhaul.deploy.exports.plan import CLOUD, Plan, Site, dns_name

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation

_README = """\
This folder was written by midhaul from a plan: {n_placed} of {n} analytics run on
{n_gateways} gateway(s), the others in the cloud. Look at the files before you apply
them.

1. Pull images before they are needed (one of the two; no file where nothing is pulled):
       kubectl apply -f prepull-jobs.yaml
       kubectl apply -f kubeedge-prepull.yaml     KubeEdge 1.16 or later
2. Start the analytics where the plan wants them:
       kubectl apply -f pods.yaml
   Gateways are found by the label {node_label}, the cloud by
   {cloud_label}={cloud_value}. To undo: kubectl delete -f pods.yaml
3. Make each gateway's uplink obey (one of the two, on the gateway, in its folder):
       midhaul serve bridge bridge.toml           paces MQTT topics, needs no root
       sh shape.sh up                             shapes packets in the kernel, as root
   The bridge reads rates.json again whenever it changes. To undo: sh shape.sh down
{marks}
Containers run as user {user_id} without privileges; an image that needs more needs
another securityContext. The brokers are {gateway_broker} on each gateway and
{cloud_broker} in the cloud. Env of each: ANALYTIC, DEVICE, SENSOR_BROKER,
RESULT_BROKER, UPLOAD_RATE_BPS and KNOB.
"""
_MARKS = """\
   The script tells packets apart by {by}; see its comments for whose is which.
"""


def export_plan(
    folder: Path,
    problem: PlacementProblem,
    placement: Placement,
    allocation: RateAllocation | None = None,
    *,
    demands: Demands | None = None,
    site: Site | None = None,
) -> list[Path]:
    """Write a plan as files that can be applied.

    Args:
        folder: where to; made where missing. Each gateway has a folder in it.
        problem: what was planned.
        placement: who runs where.
        allocation: rates, as :meth:`midhaul.deploy.exports.plan.Plan.of` takes them.
        demands: what they were allocated for.
        site: where it is applied.

    Returns:
        The files, README.txt first.

    Raises:
        DataError: the plan cannot be applied as it stands; nothing is written then.
        PrerequisiteError: a library of the extra ``deploy`` is missing.
    """
    site = site or Site()
    plan = Plan.of(problem, placement, allocation, demands)
    manifests = {
        "pods.yaml": pods(plan, site),
        "prepull-jobs.yaml": prepull_jobs(plan, site),
        "kubeedge-prepull.yaml": kubeedge_prepulls(plan, site),
    }
    texts = {name: to_yaml(some) for name, some in manifests.items() if some}
    for gateway, uplink_bps in plan.uplinks_bps.items():
        inside = dns_name(gateway)
        texts[f"{inside}/rates.json"] = rate_map(plan, site, gateway).text()
        texts[f"{inside}/bridge.toml"] = bridge_file(site, inside)
        if uplink_bps >= LEAST_BPS:  # less is too little for a kernel's class
            texts[f"{inside}/shape.sh"] = tc_script(plan, site, gateway)
    texts = {"README.txt": _readme(plan, site), **texts}
    for name, text in texts.items():
        replace_text(folder / name, text)
    return [folder / name for name in texts]


def _readme(plan: Plan, site: Site) -> str:
    placed = [one for one in plan.analytics if plan.where(one) != CLOUD]
    return _README.format(
        n_placed=len(placed),
        n=len(plan.analytics),
        n_gateways=len({plan.where(one) for one in placed}),
        node_label=site.node_label,
        cloud_label=site.cloud_label,
        cloud_value=site.cloud_value,
        user_id=site.user_id,
        gateway_broker=site.gateway_broker,
        cloud_broker=site.cloud_broker,
        marks=_MARKS.format(by="destination port" if site.ports else "firewall mark"),
    )
