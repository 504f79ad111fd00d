"""The conformance suite of joint planners, ours or a stranger's."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.problem import (
    Analytic,
    ContainerImage,
    Gateway,
    Layer,
    PlacementProblem,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midhaul.deploy.joint.base import JointPlan, JointPlanner

TOLERANCE = 1e-6
"""Share by which sums of floating-point numbers may be off."""


def check_joint_planner(
    planner: JointPlanner, *, n_instances: int = 12, n_analytics: int = 8, seed: int = 0
) -> None:
    """Hold a planner to what all expect of it; a ValueError where it does not hold.

    It is asked about random and odd problems.
    """
    rng = np.random.default_rng(seed)
    problems = [*_odd_problems(rng)]
    problems += [
        random_problem(int(rng.integers(1, n_analytics + 1)), rng)
        for _ in range(n_instances)
    ]
    for number, problem in enumerate(problems):
        where = f"{planner.name}, problem {number}"
        plan = planner.plan(problem)
        check_plan(plan, problem, where)
        again = planner.plan(problem)
        _check(
            plan.placement.gateway_of == again.placement.gateway_of
            and np.array_equal(plan.rates.rates_bps, again.rates.rates_bps),
            f"{where}: equal problems must give equal plans",
        )
        named = {gateway.name: gateway.uplink_bps for gateway in problem.gateways}
        _check(
            math.isclose(planner.plan(problem, named).value, plan.value, rel_tol=1e-9),
            f"{where}: uplinks by name must count like those of the gateways",
        )
    _check_refusals(planner, problems[-1])


def check_plan(plan: JointPlan, problem: PlacementProblem, where: str = "") -> None:
    """Hold a plan to its problem's limits and what it says of itself: ValueError."""
    _check_rates(plan, problem, where)
    _check_places(plan, problem, where)
    _check(
        plan.bound >= plan.value * (1 - TOLERANCE),
        f"{where}: the bound {plan.bound} is below the value {plan.value}",
    )
    _check(
        plan.status != "optimal"
        or math.isclose(plan.bound, plan.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE),
        f"{where}: optimal with a value of {plan.value} and a bound of {plan.bound}",
    )
    _check(
        all(price >= 0 for price in plan.prices.values()),
        f"{where}: a price is negative, or none: {dict(plan.prices)}",
    )


def _check_rates(plan: JointPlan, problem: PlacementProblem, where: str) -> None:
    """Each step is one of the curve that holds, and each uplink carries its rates."""
    rates, value = plan.rates, 0.0
    spent = dict.fromkeys((gateway.name for gateway in problem.gateways), 0.0)
    for number, analytic in enumerate(problem.analytics):
        is_moved = analytic.name in plan.placement.gateway_of
        curve = analytic.gateway_curve if is_moved else analytic.cloud_curve
        step, rate_bps = int(rates.steps[number]), float(rates.rates_bps[number])
        home = problem.sites.get(analytic.name) or (problem.gateways[0].name,)
        spent[home[0]] += rate_bps
        quality = 0.0
        if step >= 0 and curve is not None:
            needed, quality = (
                float(values[step])
                for values in (curve.frontier().rates_bps, curve.frontier().qualities)
            )
            _check(
                needed <= rate_bps * (1 + TOLERANCE),
                f"{where}: {analytic.name} needs {needed} bit/s and has {rate_bps}",
            )
        _check(
            math.isclose(float(rates.qualities[number]), quality, rel_tol=TOLERANCE),
            f"{where}: {analytic.name} has not the quality of its step",
        )
        value += analytic.weight * quality
    _check(
        math.isclose(plan.value, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE),
        f"{where}: the value is {plan.value}, the steps have {value}",
    )
    for gateway in problem.gateways:
        _check(
            spent[gateway.name] <= gateway.uplink_bps * (1 + TOLERANCE),
            f"{where}: {spent[gateway.name]} bit/s cross {gateway.name}",
        )


def _check_places(plan: JointPlan, problem: PlacementProblem, where: str) -> None:
    """Disk, cores, memory, sites and deadlines, from the problem alone."""
    placed = plan.placement.gateway_of
    ends_s = {(p.gateway, p.image): p.ends_s for p in plan.placement.pulls}
    for gateway in problem.gateways:
        mine = [a for a in problem.analytics if placed.get(a.name) == gateway.name]
        images = [problem.image_at(analytic.image, gateway) for analytic in mine]
        _check(None not in images, f"{where}: {gateway.name} cannot run an image")
        layers = {
            layer.digest: layer.uncompressed_bytes
            for image in images
            for layer in (image.layers if image else ())
            if layer.digest not in gateway.held
        }
        for what, used, capacity in (
            ("bytes of disk", sum(layers.values()), gateway.disk_bytes),
            ("cores", sum(a.n_cores for a in mine), gateway.n_cores),
            (
                "bytes of memory",
                sum(a.memory_bytes for a in mine),
                gateway.memory_bytes,
            ),
        ):
            _check(
                used <= capacity * (1 + TOLERANCE),
                f"{where}: {gateway.name} has {capacity} {what}, {used} are taken",
            )
        for analytic in mine:
            sites = problem.sites.get(analytic.name, (gateway.name,))
            _check(gateway.name in sites, f"{where}: {analytic.name} may not be there")
            end_s = ends_s.get((gateway.name, analytic.image), 0.0)
            due_s = problem.remaining_s(analytic)
            due_s -= problem.startup_s.get(analytic.image, 0.0)
            _check(
                end_s <= min(problem.slot_s, due_s) * (1 + TOLERANCE),
                f"{where}: the pull for {analytic.name} ends at {end_s} s, too late",
            )


def _check_refusals(planner: JointPlanner, problem: PlacementProblem) -> None:
    bare = tuple(
        replace(a, cloud_curve=None, gateway_curve=None) for a in problem.analytics
    )
    for what, asked, uplink_bps in (
        ("an uplink of -1", problem, -1.0),
        ("an uplink of NaN", problem, math.nan),
        ("analytics without curves", replace(problem, analytics=bare), None),
    ):
        try:
            planner.plan(asked, uplink_bps)
        except DataError:
            continue
        message = f"{planner.name}: expected DataError for {what}"
        raise ValueError(message)


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - reads as an assert
    if not holds:
        raise ValueError(message)


def random_problem(
    n: int, rng: np.random.Generator, *, n_gateways: int = 1
) -> PlacementProblem:
    """Analytics of a few images that share layers; about half of everything fits.

    Each analytic may go to one or two gateways.
    """
    layers = [
        Layer(digest=f"l{i}", compressed_bytes=int(size), uncompressed_bytes=int(size))
        for i, size in enumerate(rng.integers(1, 50, 6))
    ]
    images: dict[str, ContainerImage] = {}
    for i in range(4):
        picked = rng.choice(len(layers), int(rng.integers(1, 4)), replace=False)
        own = tuple(layers[k] for k in np.sort(picked))
        images[f"i{i}"] = ContainerImage(name=f"i{i}", layers=own)
    analytics = [
        Analytic(
            name=f"a{i}",
            image=f"i{rng.integers(4)}",
            weight=float(np.round(max(0.0, rng.uniform(-0.1, 1)), 3)),
            n_cores=float(rng.integers(0, 3)) / 2,
            memory_bytes=float(rng.integers(0, 3)),
            saved_bps=float(rng.integers(0, 1000)),
            cloud_curve=_random_curve("cloud", 2000, rng),
            gateway_curve=_random_curve("gateway", 500, rng),
            lifetime_s=float(rng.choice([3.0, 10.0, math.inf])),
        )
        for i in range(n)
    ]
    gateways = tuple(
        Gateway(
            name=f"g{i}",
            disk_bytes=float(rng.integers(0, 120)),
            n_cores=float(rng.integers(0, n + 1)) / 2,
            memory_bytes=float(rng.integers(0, n + 1)),
            downlink_bps=100.0,
            uplink_bps=float(rng.integers(0, 700 * n)) * 1000 / n_gateways,
        )
        for i in range(n_gateways)
    )
    names = [gateway.name for gateway in gateways]
    return PlacementProblem(
        analytics=tuple(analytics),
        images=images,
        gateways=gateways,
        slot_s=20.0,
        sites={
            analytic.name: tuple(rng.permutation(names)[: rng.integers(1, 3)].tolist())
            for analytic in analytics
        },
    )


def _random_curve(name: str, highest_kbps: int, rng: np.random.Generator) -> QosCurve:
    n = int(rng.integers(1, 5))
    rates_bps = np.sort(rng.integers(1, highest_kbps, n)) * 1000.0
    qualities = np.round(rng.uniform(0.05, 1, n), 2)
    return QosCurve.of(name, np.arange(n, dtype=float), rates_bps, qualities)


def _odd_problems(rng: np.random.Generator) -> Iterable[PlacementProblem]:
    """Nobody, no uplink, no disk, equal analytics, no limits, and two gateways."""
    problem = random_problem(6, rng)
    gateway = problem.gateways[0]
    yield replace(problem, analytics=())
    yield replace(problem, gateways=(replace(gateway, uplink_bps=0.0),))
    yield replace(problem, gateways=(replace(gateway, disk_bytes=0.0),))
    equal = tuple(replace(problem.analytics[0], name=f"a{i}") for i in range(6))
    yield replace(problem, analytics=equal)
    yield replace(problem, gateways=(Gateway(name=gateway.name),))
    yield random_problem(6, rng, n_gateways=2)
