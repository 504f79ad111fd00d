"""Truth of scenarios: what packets say of their flows, simulated in parts, kept as npz.

A scenario is drawn again wherever it is needed, so that only slowdowns are kept: those
of its foreground, and those of all flows of a short simulation of the first ones. A
part is written as a whole or not at all, so a run that was killed goes on with the
parts that are missing, and gives what an undisturbed one gives.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, SimulationError
from midhaul.network.corrector.scenarios import (
    LAW_VERSION,
    PathScenario,
    ScenarioAmount,
    draw_scenario,
)
from midhaul.network.packet.simulator import PacketSimulator
from midhaul.network.work import packet_hops

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jaxtyping import Float32

    from midhaul.network.problem import NetworkProblem

_MOST_EVENTS, _FEW_EVENTS = 40, 2_000_000
"""Events for each packet and link, and besides, from which on a simulation is given up:
its network has collapsed, and packets are sent again without end."""

_SLICE = 500_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScenarioTruth:
    """What packets say of one scenario.

    Attributes:
        number: of the scenario.
        own: ``(f,)`` slowdowns of its foreground; NaN for all where it was given up.
        first: ``(k,)`` slowdowns of the flows that start first, alone; NaN where one
            had not ended when the simulation was given up.
        n_events: what was worked through.
        took_s: for how long.
        first_s: how long the short simulation took.
    """

    number: int
    own: Float32[np.ndarray, " f"]
    first: Float32[np.ndarray, " k"]
    n_events: int
    took_s: float
    first_s: float

    @property
    def is_given_up(self) -> bool:
        """True where there is no truth."""
        return bool(np.isnan(self.own).any())


def scenario_truth(scenario: PathScenario) -> ScenarioTruth:
    """Simulate a scenario packet by packet, and its first flows alone."""
    path = scenario.path
    slowdown, n_events, took_s = _slowdowns(path.problem())
    short, _, first_s = _slowdowns(path.first(scenario.n_first).problem())
    return ScenarioTruth(
        number=scenario.number,
        own=slowdown[path.is_foreground].astype(np.float32),
        first=short.astype(np.float32),
        n_events=n_events,
        took_s=took_s,
        first_s=first_s,
    )


def _slowdowns(problem: NetworkProblem) -> tuple[np.ndarray, int, float]:
    """Slowdowns, NaN where a simulation is given up; events, and seconds."""
    begin_s = time.process_time()
    simulation = PacketSimulator().begin(problem)
    most = _FEW_EVENTS + _MOST_EVENTS * int(packet_hops(problem).sum())
    n_events, has_room = 0, True
    while has_room and n_events <= most:
        try:
            if simulation.advance(_SLICE):
                break
        except SimulationError:  # more packets under way than memory holds
            has_room = False
        n_events += _SLICE
    took_s = time.process_time() - begin_s
    if not has_room:
        return np.full(len(problem.flows), np.nan), n_events, took_s
    found = simulation.results()
    return found.slowdown, found.n_events, took_s


def part_name(part: int) -> str:
    """File of a part."""
    return f"part-{part:05d}.npz"


def simulate_part(
    file: Path, seed: int, numbers: Sequence[int], amount: ScenarioAmount
) -> None:
    """Simulate scenarios and write their part, unless it is there already."""
    if file.exists():
        return
    found = [scenario_truth(draw_scenario(seed, n, amount)) for n in numbers]
    arrays = {
        "law": np.array([LAW_VERSION, seed]),
        "amount": np.array(
            [amount.fewest, amount.most, amount.rdma_hops, amount.tcp_hops]
        ),
        "group": np.array(amount.group),
        "number": np.array([one.number for one in found]),
        "n_own": np.array([len(one.own) for one in found]),
        "n_first": np.array([len(one.first) for one in found]),
        "own": np.concatenate([one.own for one in found]),
        "first": np.concatenate([one.first for one in found]),
        "n_events": np.array([one.n_events for one in found]),
        "took_s": np.array([one.took_s for one in found]),
        "first_s": np.array([one.first_s for one in found]),
    }
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with beside.open("wb") as opened:
        np.savez_compressed(opened, allow_pickle=False, **arrays)
    beside.replace(file)


def read_part(file: Path) -> Iterator[tuple[int, ScenarioAmount, ScenarioTruth]]:
    """The seed, the amount and the truth of each scenario of a part.

    DataError if the file is none, or of another version of the law.
    """
    with np.load(file, allow_pickle=False) as read:
        arrays = {name: read[name] for name in read.files}
    law, seed = arrays["law"].tolist()
    if law != LAW_VERSION:
        message = (
            f"{file} has scenarios of law {law}, this version draws law {LAW_VERSION}"
        )
        raise DataError(message, "simulate them again")
    fewest, most, rdma, tcp = arrays["amount"].tolist()
    amount = ScenarioAmount(
        fewest=int(fewest),
        most=int(most),
        rdma_hops=rdma,
        tcp_hops=tcp,
        group=str(arrays["group"]),
    )
    own = np.split(arrays["own"], np.cumsum(arrays["n_own"])[:-1])
    first = np.split(arrays["first"], np.cumsum(arrays["n_first"])[:-1])
    for i, number in enumerate(arrays["number"].tolist()):
        truth = ScenarioTruth(
            number=number,
            own=own[i],
            first=first[i],
            n_events=int(arrays["n_events"][i]),
            took_s=float(arrays["took_s"][i]),
            first_s=float(arrays["first_s"][i]),
        )
        yield seed, amount, truth
