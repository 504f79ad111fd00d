"""Export folder of a plan: every file that a person applies, and a README for them.

The README.txt says the order, how to check, how to undo, and what is missing.

The plan's rates are held by the bridge's rate map, its file, or the tc script.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midhaul.deploy.enforcement.htb import (
    LEAST_BPS,
    MOST_BPS,
    HtbClass,
    HtbPlan,
    script,
)
from midhaul.deploy.enforcement.rate_map import RateMap, replace_text
from midhaul.deploy.exports.kubernetes import (
    KUBERNETES,
    PART_LABEL,
    PLAN_LABEL,
    deployments,
    disruption_budgets,
    kubeedge_prepulls,
    kustomization,
    mark,
    plan_hash,
    prepull_jobs,
    to_yaml,
)
from midhaul.deploy.exports.plan import (
    CLOUD,
    ExportSite,
    Plan,
    dns_name,
    scheme_host_port,
)
from midhaul.deploy.store.manifests import parse_reference
from midhaul.errors import DataError
from midhaul.model import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import PlacementProblem
    from midhaul.deploy.rates.base import Demands, RateAllocation


def rate_map(plan: Plan, site: ExportSite, gateway: str) -> RateMap:
    """The rates on a gateway's uplink, by topic filter.

    A DataError says that an analytic's name makes no topic, or that two make the same
    one.
    """
    rates_bps: dict[str, float] = {}
    for name, rate_bps in plan.uploads_of(gateway).items():
        if {"+", "#", "\0"} & set(name):
            message = f"analytic {name!r} cannot be part of an MQTT topic"
            raise DataError(message, "give it a name without + and #")
        topic = site.topic.replace("{analytic}", name)
        if topic in rates_bps:
            message = f"expected a topic per analytic, found {topic} twice"
            raise DataError(message, "the topic holds {analytic}")
        rates_bps[topic] = rate_bps
    return RateMap(rates_bps=rates_bps, uplink_bps=plan.uplinks_bps[gateway])


def bridge_file(site: ExportSite, gateway: str) -> str:
    """The file of ``midhaul serve bridge`` on a gateway, TOML."""
    ends = (("local", site.gateway_broker), ("remote", site.cloud_broker))
    # Of two bridges with one name, brokers throw the first out.
    lines = [f'name = "{gateway}"']
    lines += ['rates = "rates.json"', 'stats = "bridge-stats.json"']
    for name, broker in ends:
        _, host, port = scheme_host_port(broker)
        lines += ["", f"[{name}]", f'host = "{host}"', f"port = {port}"]
    if site.cloud_username:
        lines.append(f"username = {json.dumps(site.cloud_username)}")
    if site.has_tls:
        lines.append("has_tls = true")
    if site.cloud_ca_file:
        lines.append(f"ca_file = {json.dumps(site.cloud_ca_file)}")
    return "\n".join([*lines, ""])


def htb_plan(plan: Plan, site: ExportSite, gateway: str) -> HtbPlan:
    """The kernel's classes for a gateway's uplink.

    Packets are told apart by destination port where the site knows all ports, else by
    firewall marks 1, 2, … in the order of the analytics.
    """
    uploads = plan.uploads_of(gateway)
    has_ports = bool(uploads) and set(uploads) <= set(site.ports)
    uplink_bps = plan.uplinks_bps[gateway]
    classes = tuple(
        HtbClass(
            name=name,
            rate_bps=rate_bps,
            match=site.ports[name] if has_ports else index + 1,
        )
        for index, (name, rate_bps) in enumerate(uploads.items())
    )
    return HtbPlan(
        device=site.device,
        uplink_bps=min(uplink_bps, MOST_BPS),
        classes=classes,
        by="dport" if has_ports else "mark",
        floor_bps=min(site.floor_bps, uplink_bps),
        lan=site.lan,
        spares_neighbours=True,
    )


def tc_script(plan: Plan, site: ExportSite, gateway: str) -> str:
    """A shell script that shapes a gateway's uplink; errors as :func:`htb_plan`."""
    return script(htb_plan(plan, site, gateway))


def cut_rates(plan: Plan, site: ExportSite) -> Tally:
    """How many analytics the kernel's classes give less than the plan, for the floor.

    Raises:
        DataError: as :func:`htb_plan`.
    """
    shaped = [g for g, bps in plan.uplinks_bps.items() if bps >= LEAST_BPS]
    plans = {gateway: htb_plan(plan, site, gateway) for gateway in shaped}
    cut = {g: one for g, one in plans.items() if one.scale < 1}
    least = min((one.scale for one in cut.values()), default=1.0)
    return Tally(
        what=f"analytics get less in shape.sh than the plan grants, {1 - least:.1%} at "
        "most, since ssh and the kubelet keep a floor",
        n=sum(len(one.classes) for one in cut.values()),
        of=sum(len(one.classes) for one in plans.values()),
        max_share=1.0,
        advice="Lower uplink_bps of the gateways by site.floor_bps, or set that to 0.",
        places=tuple(cut),
    )


def peer_tallies(plan: Plan, site: ExportSite) -> tuple[Tally, Tally]:
    """How many pulls count on peers that no export brings, or that bring them late."""
    counted = plan.pulls_of_peers()
    lost = [] if site.peer_mirror else counted
    waves, ends_s = plan.waves(), plan.wave_ends_s()
    late = [
        pull
        for pull in plan.placement.pulls
        if waves[pull.gateway] > 1 and ends_s[waves[pull.gateway] - 1] > plan.slot_s
    ]
    n = len(plan.placement.pulls)
    return (
        Tally(
            what="pulls count on layers of other gateways, which no export brings",
            n=len(lost),
            of=n,
            max_share=0.0,
            advice="Name site.peer_mirror, or plan with has_peer_pulls = false.",
            places=tuple(f"{pull.image} to {pull.gateway}" for pull in lost),
        ),
        Tally(
            what="pulls end after the slot, since they wait for their peers' pulls",
            n=len(late),
            of=n,
            max_share=0.0,
            advice="Raise slot_s or downlinks, or plan with has_peer_pulls = false.",
            places=tuple(f"{pull.image} to {pull.gateway}" for pull in late),
        ),
    )


def peer_hosts(plan: Plan, site: ExportSite, gateway: str) -> dict[str, str]:
    """Where containerd looks for layers before it asks a registry, by registry.

    Each is the text of ``hosts.toml`` in a folder of the registry's name below
    containerd's ``config_path``. Empty where nothing comes from peers.
    """
    if not plan.has_peer_pulls or not site.peer_mirror:
        return {}
    pulled = {p.image for p in plan.placement.pulls if p.gateway == gateway}
    names = [plan.image_at(image, gateway, site) for image in sorted(pulled)]
    found = dict.fromkeys(parse_reference(name) for name in names)
    texts: dict[str, str] = {}
    for reference in found:
        is_plain = reference.is_loopback or reference.registry in site.plain_http
        scheme = "http" if is_plain else "https"
        texts[reference.registry] = (
            f'server = "{scheme}://{reference.host}"\n\n'
            f'[host."{site.peer_mirror}"]\n  capabilities = ["pull", "resolve"]\n'
        )
    return texts


_HEAD = """\
Plan {hash}
This folder was written by midhaul: {n_placed} of {n} analytics run on {n_gateways}
gateway(s), the others in the cloud. Each manifest is valid for Kubernetes
{versions}; no cluster was asked. See what would change before you apply it:
    kubectl diff -k .

0. BEFORE
   Gateways are found by the label {node_label},
   nodes of the cloud by {cloud_label}={cloud_value}:
       kubectl label node NODE {cloud_label}={cloud_value}
   The namespace {namespace} must be there.
"""
_PULL_WITH = """\
   Nodes pull with the Secret {secret}; where it is missing:
       kubectl -n {namespace} create secret docker-registry {secret} \\
           --docker-server={registry} --docker-username=USER \\
           --docker-password=PASSWORD
"""
_LOOSE = """\
   {n} image(s) are named by tag, since no digest of them is known: a node that has
   one of that tag does not pull it again when the tag moves on.
"""
_NO_PULL = """
1. PULL
   Nothing to do: all images are there, or run in the cloud.
"""
_PULL = """
1. PULL (one of the two, before 2, so that no start waits for a pull)
       kubectl apply -f prepull-jobs.yaml
       kubectl apply -f kubeedge-prepull.yaml     KubeEdge 1.16 or later
   Wait until all have ended, and look at those that failed:
       kubectl -n {namespace} wait job \\
           -l {mine},{plan_label}={hash},midhaul/wave=1 \\
           --for=condition=complete --timeout={longest_s}s
       kubectl get imageprepulljobs               KubeEdge
   A Job whose image has no program `true` ends as failed, and has pulled it.
"""
_PEERS = """\
   The plan counts on gateways that take layers from each other. Each needs a
   peer-to-peer mirror at {mirror}, such as Spegel, and
   what is in its folder certs.d where its containerd looks (config_path):
       cp -r certs.d/. /etc/containerd/certs.d/   no restart is needed
"""
_WAVE = """\
   Then, from peers that have the layers now, for {gateways}:
       kubectl apply -f prepull-jobs-{wave}.yaml
       kubectl apply -f kubeedge-prepull-{wave}.yaml
   and wait as above, with midhaul/wave={wave}. It ends {ends_s:.0f} s after the begin.
"""
_LATER = """\
   The plan lets all begin at once and counts a layer once on the backhaul. Here
   later waves end later, by the time a layer takes from gateway to gateway.
"""
_START = """
2. START, OR CHANGE
   One Deployment for each analytic. Applied over an earlier plan, analytics that
   change are stopped and started anew; the others go on.
       kubectl apply -k .
   What an earlier plan had and this one has not, goes by
       kubectl -n {namespace} delete deployments,poddisruptionbudgets \\
           -l '{mine},{plan_label}!={hash}'
   Check that all are rolled out, and none is Pending:
       kubectl -n {namespace} rollout status deployment -l {mine}
       kubectl -n {namespace} get pods -o wide -l {mine}
   A Pod stays Pending where no node has its label, or where the room that it needs
   is taken: by what the line above deletes, or by what is not of this plan.

3. RATES (one of the two, on each gateway, in its folder)
       midhaul serve bridge bridge.toml           paces MQTT topics; needs no root
       sh shape.sh up                             shapes packets; as root
   The bridge reads rates.json again whenever it changes; shape.sh is run again.
   Check: bridge-stats.json counts the messages of each lane, and
       sh shape.sh show                           the packets of each class
"""
_TLS = """\
   The bridge asks {cloud_broker} by TLS. A password for it stands in
   the environment only, as MIDHAUL_BRIDGE_REMOTE_PASSWORD.
"""
_BANDWIDTH = """\
   Pods on gateways are annotated with kubernetes.io/egress-bandwidth: CNI's
   bandwidth plugin obeys it, and KubeEdge where it limits applications.
"""
_END = """
4. UNDO
   Back to an earlier plan: apply its folder, delete as in 2 with its hash, and give
   the gateways its rates.json and shape.sh. One analytic, to the state before:
       kubectl -n {namespace} rollout undo deployment NAME
   All of it, and on each gateway, as root:
       kubectl -n {namespace} delete deployments,poddisruptionbudgets,jobs -l {mine}
       sh shape.sh down
   Bare Pods, which exports had before there were Deployments:
       kubectl -n {namespace} delete pods \\
           -l 'app.kubernetes.io/managed-by=midhaul,!pod-template-hash'

5. NOT COVERED
   Brokers, what sets firewall marks, Services, volumes and probes of analytics, and
   whatever else uses a node or an uplink: requests and limits are the plan's cores
   and memory, which must be free. shape.sh holds back what leaves its device, not
   what comes in, and spares the networks that the device is in, but for ports of
   analytics. Containers run as user {user_id} without privileges.
   Brokers: {gateway_broker} on each gateway, {cloud_broker} in the cloud.
   Env of each: ANALYTIC, DEVICE, SENSOR_BROKER, RESULT_BROKER, UPLOAD_RATE_BPS,
   KNOB, and BROKER_HAS_TLS where the broker wants TLS.
"""


def readme(plan: Plan, site: ExportSite, plan_hash: str, files: Sequence[str]) -> str:
    """The text of README.txt, with label and names of the manifests there are."""
    placed = [one for one in plan.analytics if plan.where(one) != CLOUD]
    ends = [p.ends_s for p in plan.placement.pulls if p.ends_s < float("inf")]
    known = {
        "hash": plan_hash,
        "n": len(plan.analytics),
        "n_placed": len(placed),
        "n_gateways": len({plan.where(one) for one in placed}),
        "versions": ", ".join(KUBERNETES),
        "mine": f"{PART_LABEL}={dns_name(site.name)}",
        "plan_label": PLAN_LABEL,
        "namespace": site.namespace,
        "node_label": site.node_label,
        "cloud_label": site.cloud_label,
        "cloud_value": site.cloud_value,
        "mirror": site.peer_mirror,
        "gateway_broker": site.gateway_broker,
        "cloud_broker": site.cloud_broker,
        "user_id": site.user_id,
        "longest_s": max(300, round(3 * max(ends, default=0.0))),
    }
    parts = [_HEAD]
    parts += [
        _PULL_WITH.format(**known, secret=secret, registry=registry or "REGISTRY")
        for secret, registry in site.secrets.items()
    ]
    if n_loose := _n_loose(plan, site):
        parts.append(_LOOSE.format(n=n_loose))
    parts += _pull_parts(plan, site, files)
    parts += [_START, *_rate_parts(plan, site), _END]
    # What was filled in already has no braces left but those of names.
    return "".join(part.format(**known) if part in _FILLED else part for part in parts)


_FILLED = frozenset({_HEAD, _PULL, _PEERS, _START, _TLS, _END})


def _n_loose(plan: Plan, site: ExportSite) -> int:
    """How many images are named by tag only."""
    images = {(plan.where(one), one.image) for one in plan.analytics}
    return sum("@" not in plan.image_at(image, place, site) for place, image in images)


def _pull_parts(plan: Plan, site: ExportSite, files: Sequence[str]) -> list[str]:
    """How images are pulled before they are needed."""
    n_waves = sum(name.startswith("prepull-jobs") for name in files)
    if not n_waves:
        return [_NO_PULL]
    parts = [_PULL]
    if plan.has_peer_pulls and site.peer_mirror:
        parts.append(_PEERS)
    waves, ends_s = plan.waves(), plan.wave_ends_s()
    for wave in range(2, n_waves + 1):
        gateways = ", ".join(name for name, number in waves.items() if number == wave)
        parts.append(
            _WAVE.format(wave=wave, gateways=gateways, ends_s=ends_s[wave - 1])
        )
    return [*parts, _LATER] if n_waves > 1 else parts


def _rate_parts(plan: Plan, site: ExportSite) -> list[str]:
    """What is special about the rates of each gateway."""
    parts = [_TLS] if site.has_tls else []
    for gateway, uplink_bps in plan.uplinks_bps.items():
        if uplink_bps < LEAST_BPS:
            parts.append(f"   {gateway}: its uplink is too slow for shape.sh.\n")
        elif uploads := plan.uploads_of(gateway):
            is_by_port = set(uploads) <= set(site.ports)
            by = "destination port" if is_by_port else "firewall mark, see the script"
            parts.append(f"   {gateway}: packets are told apart by {by}.\n")
            if (scale := htb_plan(plan, site, gateway).scale) < 1:
                parts.append(
                    f"   {gateway}: classes get {scale:.1%} of what the plan grants, "
                    "since\n   ssh and the kubelet keep a floor.\n"
                )
    return [*parts, _BANDWIDTH] if site.with_bandwidth else parts


def export_plan(
    folder: Path,
    problem: PlacementProblem,
    placement: Placement,
    allocation: RateAllocation | None = None,
    *,
    demands: Demands | None = None,
    site: ExportSite | None = None,
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
    site = site or ExportSite()
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


def _manifests(plan: Plan, site: ExportSite) -> dict[str, str]:
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
