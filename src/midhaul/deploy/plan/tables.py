"""Tables of deploy.plan and deploy.allocate, and the rows of what was decided.

Of a joint plan these are its decisions, pulls, layers and use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midhaul.deploy.curves.qos_curve import QosCurve
    from midhaul.deploy.joint.base import JointPlan
    from midhaul.deploy.problem import Analytic, PlacementProblem
    from midhaul.deploy.rates.base import RateAllocation
    from midhaul.runs.run import Run

ANALYTIC = Column("analytic", STRING, "Name of the analytic.")
GATEWAY = Column("gateway", STRING, "Name of the gateway.")

CONFIGURATIONS = Table(
    "configurations",
    "One way to decide that the run compares with the others.",
    (
        CONFIGURATION,
        Column("name", STRING, "Its short name, unique in the run."),
        Column("planner", STRING, "Who decides: joint, or PLACER+ALLOCATOR."),
        Column("uplink_bps", FLOAT, "Uplink that is divided, of all gateways."),
        Column("settings", STRING, "What else tells it from the others, as JSON."),
    ),
)

CURVES = Table(
    "curves",
    "One step of a QoS curve, as it is charged.",
    (
        Column("curve", STRING, "Name of the curve."),
        Column("step", INT32, "Number of the step, from 0, by rising rate."),
        Column("knob", FLOAT, "Setting of the step."),
        Column("rate_bps", FLOAT, "Upload rate, with what transports add."),
        Column("quality", FLOAT, "Measured quality."),
        Column("is_on_frontier", BOOL, "False where a cheaper step is as good."),
    ),
)

DECISIONS = Table(
    "decisions",
    "What one way to decide gives one analytic.",
    (
        CONFIGURATION,
        ANALYTIC,
        Column("image", STRING, "Its container image; null where none matters."),
        Column("place", STRING, "cloud, or the name of its gateway."),
        Column(
            "sensor",
            STRING,
            "Gateway whose uplink it takes; null without any.",
            is_newer=True,
        ),
        Column("weight", FLOAT, "How much it counts."),
        Column("curve", STRING, "Curve that holds where it runs."),
        Column("knob", FLOAT, "Setting that its rate buys; null for none."),
        Column(
            "message_hz",
            FLOAT,
            "Messages per second; null where unknown.",
            is_newer=True,
        ),
        Column("rate_bps", FLOAT, "Upload rate that it is granted."),
        Column("quality", FLOAT, "Quality of that setting; 0 for none."),
        Column("saved_bps", FLOAT, "Upload rate that a gateway would save."),
        Column("starts_s", FLOAT, "When it can answer from the gateway; null else."),
    ),
)

PULLS = Table(
    "pulls",
    "One pull of an image's missing layers.",
    (
        CONFIGURATION,
        GATEWAY,
        Column("image", STRING, "Container image that can start after it."),
        Column("n_layers", INT, "Layers that it carries."),
        Column("compressed_bytes", INT, "Bytes that it carries."),
        Column("begins_s", FLOAT, "Begin, after the begin of the slot."),
        Column("ends_s", FLOAT, "End, after the begin of the slot."),
    ),
)

LAYERS = Table(
    "layers",
    "One layer that a placement needs on a gateway.",
    (
        CONFIGURATION,
        GATEWAY,
        Column("digest", STRING, "The layer."),
        Column("compressed_bytes", INT, "What a pull of it carries."),
        Column("uncompressed_bytes", INT, "What it takes on the disk."),
        Column("is_estimated", BOOL, "True where one of its sizes is an estimate."),
        Column("is_present", BOOL, "True where it needs no pull."),
        Column("images", pa.list_(STRING), "Placed container images that share it."),
    ),
)

USES = Table(
    "uses",
    "What a placement takes of one resource of one gateway.",
    (
        CONFIGURATION,
        GATEWAY,
        Column("resource", STRING, "disk_bytes, n_cores, memory_bytes or uplink_bps."),
        Column("used", FLOAT, "What it takes."),
        Column("capacity", FLOAT, "What there is; infinite without a limit."),
    ),
)

PRICES = Table(
    "prices",
    "What one more unit of a resource would bring.",
    (
        CONFIGURATION,
        Column("resource", STRING, "GATEWAY.RESOURCE."),
        Column("step", STRING, "The unit: 1 Mbit/s, 1 GB or 1 core."),
        Column("gain", FLOAT, "Weighted quality that planning anew with it gains."),
        Column("dual", FLOAT, "What the dual price promises; null when unknown."),
        Column("sentence", STRING, "The same, in words."),
    ),
)

PLAN_TABLES = (CONFIGURATIONS, CURVES, DECISIONS, PULLS, LAYERS, USES, PRICES, SUMMARY)

ALLOCATE_TABLES = (CONFIGURATIONS, CURVES, DECISIONS, SUMMARY)


Rows = list[dict[str, Any]]


def configuration_row(
    number: int, name: str, planner: str, uplink_bps: float
) -> dict[str, Any]:
    """A row of ``configurations``, which differ in nothing else."""
    row = {"configuration": number, "name": name, "planner": planner}
    return row | {"uplink_bps": uplink_bps, "settings": "{}"}


def curves_in(analytics: Iterable[Analytic]) -> dict[str, QosCurve]:
    """The curves of some analytics, each once, by their names."""
    curves: dict[str, QosCurve] = {}
    for analytic in analytics:
        for curve in (analytic.cloud_curve, analytic.gateway_curve):
            if curve is not None:
                curves.setdefault(curve.name, curve)
    return curves


def note_dominated(analytics: Iterable[Analytic], run: Run) -> None:
    """Say in the manifest which curves have steps that nobody would buy."""
    for name, curve in curves_in(analytics).items():
        if curve.n_dominated:
            steps = f"{curve.n_dominated} of {len(curve)} steps"
            run.note(
                f"curve {name}: {steps} are no better than another one that costs no "
                "more; they are never chosen"
            )


def curve_rows(analytics: Iterable[Analytic]) -> Rows:
    """Rows of ``curves``: each step of each curve once, as it is charged."""
    rows: Rows = []
    for name, curve in curves_in(analytics).items():
        useful = curve.on_frontier
        rows += [
            {
                "curve": name,
                "step": step,
                "knob": float(curve.knobs[step]),
                "rate_bps": float(curve.rates_bps[step]),
                "quality": float(curve.qualities[step]),
                "is_on_frontier": bool(useful[step]),
            }
            for step in range(len(curve))
        ]
    return rows


def decision_rows(
    number: int,
    analytics: Sequence[Analytic],
    rates: RateAllocation,
    gateway_of: Mapping[str, str],
    starts_s: Mapping[str, float],
    sensor_of: Mapping[str, str],
) -> Rows:
    """Rows of ``decisions``, in the order of the analytics, as the allocation has them.

    Who is not in ``gateway_of`` runs in the cloud; ``starts_s`` is when one can answer
    from its gateway, and ``sensor_of`` the gateway whose uplink it takes.
    """
    rows: Rows = []
    for place, analytic in enumerate(analytics):
        gateway = gateway_of.get(analytic.name)
        curve = analytic.gateway_curve if gateway else analytic.cloud_curve
        step = int(rates.steps[place])
        knob = float(curve.frontier().knobs[step]) if curve and step >= 0 else None
        rows.append(
            {
                "configuration": number,
                "analytic": analytic.name,
                "image": analytic.image or None,
                "place": gateway or "cloud",
                "sensor": sensor_of.get(analytic.name),
                "weight": analytic.weight,
                "curve": curve.name if curve is not None else None,
                "knob": knob,
                "message_hz": (curve.message_hz or None) if curve else None,
                "rate_bps": float(rates.rates_bps[place]),
                "quality": float(rates.qualities[place]),
                "saved_bps": analytic.saved_bps,
                "starts_s": starts_s.get(analytic.name),
            }
        )
    return rows


def sensors_of(problem: PlacementProblem) -> dict[str, str]:
    """The gateway where the sensor of each analytic stands, in their order."""
    first = (problem.gateways[0].name,)
    return {a.name: problem.sites.get(a.name, first)[0] for a in problem.analytics}


def start_times(problem: PlacementProblem, plan: JointPlan) -> dict[str, float]:
    """When each placed analytic can answer: its pull, then unpacking and start."""
    placement = plan.placement
    pulled = {(p.gateway, p.image): p.ends_s for p in placement.pulls}
    return {
        a.name: pulled.get((placement.gateway_of[a.name], a.image), 0.0)
        + problem.startup_s.get(a.image, 0.0)
        for a in problem.analytics
        if a.name in placement.gateway_of
    }


def pull_rows(number: int, plan: JointPlan) -> Rows:
    """Rows of ``pulls``."""
    return [
        {
            "configuration": number,
            "gateway": pull.gateway,
            "image": pull.image,
            "n_layers": len(pull.digests),
            "compressed_bytes": pull.compressed_bytes,
            "begins_s": pull.begins_s,
            "ends_s": pull.ends_s,
        }
        for pull in plan.placement.pulls
    ]


def layer_rows(number: int, problem: PlacementProblem, plan: JointPlan) -> Rows:
    """Rows of ``layers``: each layer of a placed image once for each gateway."""
    gateways = {gateway.name: gateway for gateway in problem.gateways}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for analytic in problem.analytics:
        name = plan.placement.gateway_of.get(analytic.name)
        if name is None:
            continue
        gateway = gateways[name]
        image = problem.image_at(analytic.image, gateway)
        for layer in image.layers if image is not None else ():
            row = found.setdefault(
                (name, layer.digest),
                {
                    "configuration": number,
                    "gateway": name,
                    "digest": layer.digest,
                    "compressed_bytes": layer.compressed_bytes,
                    "uncompressed_bytes": layer.uncompressed_bytes,
                    "is_estimated": layer.is_estimated,
                    "is_present": layer.digest in gateway.layers | gateway.held,
                    "images": [],
                },
            )
            if analytic.image not in row["images"]:
                row["images"].append(analytic.image)
    return list(found.values())


def use_rows(number: int, problem: PlacementProblem, plan: JointPlan) -> Rows:
    """Rows of ``uses``: disk, cores, memory and uplink of each gateway."""
    by_name = {gateway.name: gateway for gateway in problem.gateways}
    granted = dict.fromkeys(by_name, 0.0)
    for place, sensor in enumerate(sensors_of(problem).values()):
        granted[sensor] += float(plan.rates.rates_bps[place])
    rows: Rows = []
    for use in plan.placement.uses:
        gateway = by_name[use.gateway]
        for resource, used, capacity in (
            ("disk_bytes", float(use.disk_bytes), gateway.disk_bytes),
            ("n_cores", use.n_cores, gateway.n_cores),
            ("memory_bytes", use.memory_bytes, gateway.memory_bytes),
            ("uplink_bps", granted[gateway.name], gateway.uplink_bps),
        ):
            row = {"resource": resource, "used": used, "capacity": capacity}
            rows.append({"configuration": number, "gateway": gateway.name, **row})
    return rows
