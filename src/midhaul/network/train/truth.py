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
from midhaul.network.simulators import hybrid_simulator
from midhaul.network.work import packet_hops

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jaxtyping import Float32

    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Simulator

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
        windows: ``(f,)`` the same where only windows of time are simulated, as
            ``hybrid`` does; NaN where they were not.
        first: ``(k,)`` slowdowns of the flows that start first, alone; NaN where one
            had not ended when the simulation was given up.
        n_events: what was worked through.
        took_s: for how long.
        first_s: how long the short simulation took.
        windows_s: how long that of the windows took.
    """

    number: int
    own: Float32[np.ndarray, " f"]
    windows: Float32[np.ndarray, " f"]
    first: Float32[np.ndarray, " k"]
    n_events: int
    took_s: float
    first_s: float
    windows_s: float

    @property
    def is_given_up(self) -> bool:
        """True where there is no truth."""
        return bool(np.isnan(self.own).any())


def scenario_truth(scenario: PathScenario, share: float = 0.0) -> ScenarioTruth:
    """Simulate a scenario packet by packet, and its first flows alone.

    With a share, windows that so many of its flows start in as well.
    """
    path = scenario.path
    problem = path.problem()
    slowdown, n_events, took_s = _slowdowns(problem)
    short, _, first_s = _slowdowns(path.first(scenario.n_first).problem())
    windows, windows_s = np.full(len(path), np.nan), 0.0
    if share:
        hybrid = hybrid_simulator(share=share, fewest_flows=0)
        windows, _, windows_s = _slowdowns(problem, hybrid)
    return ScenarioTruth(
        number=scenario.number,
        own=slowdown[path.is_foreground].astype(np.float32),
        windows=windows[path.is_foreground].astype(np.float32),
        first=short.astype(np.float32),
        n_events=n_events,
        took_s=took_s,
        first_s=first_s,
        windows_s=windows_s,
    )


def _slowdowns(
    problem: NetworkProblem, simulator: Simulator | None = None
) -> tuple[np.ndarray, int, float]:
    """Slowdowns, NaN where a simulation is given up; events, and seconds."""
    begin_s = time.process_time()
    simulation = (simulator or PacketSimulator()).begin(problem)
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
    if not has_room or (simulator and not simulation.share_done >= 1):
        return np.full(len(problem.flows), np.nan), n_events, took_s
    found = simulation.results()
    return found.slowdown, found.n_events, took_s


def part_name(part: int) -> str:
    """File of a part."""
    return f"part-{part:05d}.npz"


def simulate_part(
    file: Path,
    seed: int,
    numbers: Sequence[int],
    amount: ScenarioAmount,
    share: float = 0.0,
) -> None:
    """Simulate scenarios and write their part, unless it is there already.

    With a share, windows that so many of the flows start in as well.
    """
    if file.exists():
        return
    found = [scenario_truth(draw_scenario(seed, n, amount), share) for n in numbers]
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
        "windows": np.concatenate([one.windows for one in found]),
        "first": np.concatenate([one.first for one in found]),
        "n_events": np.array([one.n_events for one in found]),
        "took_s": np.array([one.took_s for one in found]),
        "first_s": np.array([one.first_s for one in found]),
        "windows_s": np.array([one.windows_s for one in found]),
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
    # Parts of older versions have no windows.
    windows = arrays.get("windows", np.full(len(arrays["own"]), np.nan, np.float32))
    windows_s = arrays.get("windows_s", np.zeros(len(arrays["number"])))
    own, windows = (
        np.split(one, np.cumsum(arrays["n_own"])[:-1])
        for one in (arrays["own"], windows)
    )
    first = np.split(arrays["first"], np.cumsum(arrays["n_first"])[:-1])
    for i, number in enumerate(arrays["number"].tolist()):
        truth = ScenarioTruth(
            number=number,
            own=own[i],
            windows=windows[i],
            first=first[i],
            n_events=int(arrays["n_events"][i]),
            took_s=float(arrays["took_s"][i]),
            first_s=float(arrays["first_s"][i]),
            windows_s=float(windows_s[i]),
        )
        yield seed, amount, truth
