"""A folder that a person can apply: every export of a plan, and how to use each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midhaul.deploy.enforcement.htb import LEAST_BPS
from midhaul.deploy.enforcement.rate_map import replace_text
from midhaul.deploy.exports.kubernetes import (
    deployments,
    disruption_budgets,
    kubeedge_prepulls,
    kustomization,
    mark,
    plan_hash,
    prepull_jobs,
    to_yaml,
)
from midhaul.deploy.exports.network import (
    bridge_file,
    peer_hosts,
    rate_map,
    tc_script,
)
from midhaul.deploy.exports.plan import Plan, Site, dns_name
from midhaul.deploy.exports.readme import readme

if TYPE_CHECKING:
    from pathlib import Path

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation


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
    texts = _manifests(plan, site)
    for gateway, uplink_bps in plan.uplinks_bps.items():
        inside = dns_name(gateway)
        texts[f"{inside}/rates.json"] = rate_map(plan, site, gateway).text()
        texts[f"{inside}/bridge.toml"] = bridge_file(site, inside)
        if uplink_bps >= LEAST_BPS:  # less is too little for a kernel's class
            texts[f"{inside}/shape.sh"] = tc_script(plan, site, gateway)
        for registry, text in peer_hosts(plan, site, gateway).items():
            texts[f"{inside}/certs.d/{registry}/hosts.toml"] = text
    for name, text in texts.items():
        replace_text(folder / name, text)
    return [folder / name for name in texts]


def _manifests(plan: Plan, site: Site) -> dict[str, str]:
    """README.txt and the files for a cluster, by name."""
    applied = {
        "deployments.yaml": deployments(plan, site),
        "disruption-budgets.yaml": disruption_budgets(plan, site),
    }
    applied = {name: some for name, some in applied.items() if some}
    digest = plan_hash([one for some in applied.values() for one in some])
    pulled = {
        _numbered(name, wave): some
        for name, waves in (
            ("prepull-jobs.yaml", prepull_jobs(plan, site)),
            ("kubeedge-prepull.yaml", kubeedge_prepulls(plan, site)),
        )
        for wave, some in enumerate(waves)
    }
    manifests = applied | pulled
    for some in manifests.values():
        mark(some, digest)
    texts = {name: to_yaml(some) for name, some in manifests.items()}
    listed = to_yaml([kustomization(site, list(applied))])
    return {
        "README.txt": readme(plan, site, digest, sorted(texts)),
        "kustomization.yaml": listed,
        **texts,
    }


def _numbered(name: str, wave: int) -> str:
    """The name of a wave's file; that of the first has no number."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}-{wave + 1}.{ending}" if wave else name
