"""One configuration simulated: predicted, worked off, kept, and written down.

The state of a simulation is kept beside the run's other files, and the flows that have
ended are rows of their table, so that a run that was killed can be read and goes on.
When a simulation ends its rows are written anew in the order of flows, so a run that
was killed and resumed has the tables of one that was not.
"""

from __future__ import annotations

import contextlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import DataError
from midhaul.network.simulate import tables
from midhaul.network.simulators import JUDGES, simulator_named, warm
from midhaul.network.slowdown import judged_flows
from midhaul.network.work import packet_hops, predict, work_off
from midhaul.runs import store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midhaul.network.simulate.inputs import NetworkCase
    from midhaul.network.simulator import FlowResults, Simulation
    from midhaul.runs.run import Run

PARTS = 1000
"""Numbers of parts that each configuration has for its own."""

_ROWS = 500_000
"""Flows of a part."""

_TOOK, _PREDICTED = "work.took_s", "work.predicted_s"
"""What is kept with a state of the work itself; NaN where it was not predicted."""


class CaseWork:
    """The work on one configuration of a run; ``say`` is told what is to be done."""

    def __init__(
        self,
        run: Run,
        case: NetworkCase,
        *,
        keep_every_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._run = run
        self._case = case
        self._keep_every_s = keep_every_s
        self._say = say
        self._written = np.zeros(len(case.problem.flows), np.bool_)
        self._took_s = 0.0
        self._predicted_s = float("nan")
        self._n_parts = 0
        self._simulation: Simulation | None = None

    @property
    def _state_file(self) -> Path:
        return self._run.dir / "files" / "states" / f"{self._case.number}.npz"

    def prepare(self) -> None:
        """Compile kernels where that was not done yet, predict the work, and begin.

        MidhaulError if it cannot be simulated, or the simulator lacks something.
        """
        warm(self._case.simulator, self._case.problem.transports, say=self._say)
        self._simulation = self._begin()

    def perform(self, advance: Callable[[float], None]) -> dict[str, object]:
        """Simulate it to its end; its row of the table ``simulations``.

        ``advance`` is told the share of the work that was done since the last call.
        """
        simulation = self._simulation
        if simulation is None:
            raise AssertionError  # prepare comes first
        advance(simulation.share_done)
        self._drop_parts()
        took_s = work_off(
            simulation,
            advance=advance,
            keep=lambda took_s: self._keep(simulation, took_s),
            keep_every_s=self._keep_every_s,
        )
        found = simulation.results()
        self._write(found)
        self._state_file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or others have states
            self._state_file.parent.rmdir()
        return self._row(found, self._took_s + took_s)

    def _begin(self) -> Simulation:
        """From the state that was kept, or from the start."""
        case, state = self._case, self._kept_state()
        simulator = simulator_named(case.simulator, **case.told)
        if state is not None:
            try:
                simulation = simulator.begin(case.problem, state)
            except DataError as error:
                self._say(f"{case.name} begins again: {error.message}")
            else:
                self._say(f"{case.name} goes on at {simulation.share_done:.0%}")
                return simulation
        self._took_s = 0.0
        if case.simulator in JUDGES:
            n = len(case.problem.flows)
            self._say(f"{case.name}: {n:,} flows; nobody predicts how long that takes")
            return simulator.begin(case.problem)
        estimate = predict(simulator, case.problem)
        self._say(f"{case.name}: {estimate.sentence}")
        if estimate.seconds is not None:
            self._predicted_s = estimate.seconds
        return simulator.begin(case.problem)

    def _kept_state(self) -> dict[str, Any] | None:
        file = self._state_file
        if not file.is_file():
            return None
        try:
            with file.open("rb") as opened, np.load(opened) as kept:
                state = {name: kept[name] for name in kept.files}
            self._took_s = float(state.pop(_TOOK))
            self._predicted_s = float(state.pop(_PREDICTED))
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            self._say(f"{file} is damaged; {self._case.name} begins again")
            return None
        return state

    def _keep(self, simulation: Simulation, took_s: float) -> None:
        """Keep the state, then the flows that have ended since."""
        state = simulation.state()
        if state is not None:
            own: dict[str, Any] = {
                _TOOK: self._took_s + took_s,
                _PREDICTED: self._predicted_s,
            }

            def write(path: Path) -> None:
                with path.open("wb") as file:
                    np.savez(file, **dict(state), **own)

            store.write_whole(self._state_file, write)
        self._write_ended(simulation.results())

    def _write_ended(self, found: FlowResults) -> None:
        new = np.flatnonzero(found.is_finished & ~self._written)
        if len(new):
            self._write_flows(found, new)
            self._written[new] = True

    def _write_flows(self, found: FlowResults, which: np.ndarray) -> None:
        case = self._case
        rows = tables.flow_rows(
            case.number, case.problem, case.transports, found, which
        )
        part = case.number * PARTS + self._n_parts
        self._run.write(tables.FLOWS, rows, part=part)
        self._n_parts += 1

    def _drop_parts(self, keep: int = 0) -> None:
        """Delete parts of flows of this configuration from a number on."""
        first = self._case.number * PARTS
        there = self._run.parts(tables.FLOWS.name)
        gone = [part for part in there if first + keep <= part < first + PARTS]
        self._run.drop(tables.FLOWS.name, gone)

    def _write(self, found: FlowResults) -> None:
        """Write all that there is to say when it has ended."""
        number, n = self._case.number, len(found.fct_ns)
        self._n_parts = 0
        for begin in range(0, n, _ROWS):
            self._write_flows(found, np.arange(begin, min(begin + _ROWS, n)))
        self._drop_parts(self._n_parts)
        links = tables.link_rows(number, found)
        self._run.write(tables.LINKS, links, part=number)
        queues = tables.queue_rows(number, found)
        self._run.write(tables.LINK_QUEUES, queues, part=number)
        self._run.write(
            tables.TIMELINE, tables.timeline_rows(number, found), part=number
        )

    def _row(self, found: FlowResults, took_s: float) -> dict[str, object]:
        judged = judged_flows(
            found.start_ns, found.fct_ns, found.ideal_fct_ns, found.end_ns
        )
        predicted_s = self._predicted_s
        return {
            "configuration": self._case.number,
            "n_flows": len(found.fct_ns),
            "n_unfinished": int(np.sum(~found.is_finished)),
            "n_late": judged.n_late + judged.n_never,
            "n_packet_hops": int(packet_hops(self._case.problem).sum()),
            "n_events": int(found.n_events),
            "end_s": found.end_ns / 1e9,
            "predicted_s": None if np.isnan(predicted_s) else predicted_s,
            "took_s": took_s,
        }
