"""The simulator ``estimate``: every flow of a network by sampled, corrected paths.

It answers as simulators do, so that it can stand beside them: a flow on a path that was
drawn has a slowdown drawn from what the corrector says of its class there; a flow on
any other path one drawn from what it says of the class in the network. So the
distribution of slowdowns is the one that is estimated, and a single flow's is not to be
read. Links say how long they send what flows bring, and nothing of queues.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import DataError, require
from midhaul.network.corrector.base import LEVELS
from midhaul.network.decomposition.part import require_separable
from midhaul.network.decomposition.pooling import N_PATHS
from midhaul.network.estimate.pooling import class_weights
from midhaul.network.estimate.sampling import (
    LookedAt,
    draw_paths,
    look_at_path,
)
from midhaul.network.problem import busiest_links, fingerprint, link_table
from midhaul.network.simulator import FlowResults, LinkResults
from midhaul.network.slowdown import SIZE_CLASSES, size_class

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.network.corrector.base import Correction, Corrector
    from midhaul.network.problem import NetworkProblem
    from midhaul.network.simulator import Arrays

_VERSION = 1
_DRAWN, _FLOWS = 71, 72
_MOST_LOG = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSimulator:
    """Sampled paths that a corrector corrects.

    Attributes:
        n_paths: how many are drawn.
        corrector: tells what packets would say; None: the one that is shipped.
    """

    n_paths: int = N_PATHS
    corrector: Corrector | None = field(default=None)

    @property
    def name(self) -> str:
        """What configs and tables call it."""
        return "estimate"

    def begin(
        self, problem: NetworkProblem, state: Arrays | None = None
    ) -> EstimateSimulation:
        """Begin, or go on from a state.

        Args:
            problem: what flows where.
            state: what :meth:`EstimateSimulation.state` gave.

        Returns:
            The simulation, whose first path has not been looked at.

        Raises:
            ConfigError: flows wait for others, or a link carries nothing.
            DataError: the state is of another problem or version.
            PrerequisiteError: Numba is not installed, or no corrector is shipped.
        """
        require("numba", "network")
        require_separable(problem, "paths are looked at one by one")
        corrector = self.corrector
        if corrector is None:
            from midhaul.network.corrector.fitted import (  # noqa: PLC0415  a file
                load_corrector,
            )

            corrector = load_corrector()
        simulation = EstimateSimulation(problem, corrector, self.n_paths)
        if state is not None:
            simulation.restore(state)
        return simulation


class EstimateSimulation:
    """Paths, looked at one after the other; watched flows have no timeline here.

    Args:
        problem: what flows where.
        corrector: tells what packets would say.
        n_paths: how many paths are drawn.
    """

    def __init__(
        self, problem: NetworkProblem, corrector: Corrector, n_paths: int
    ) -> None:
        from midhaul.network.decomposition.crossed import WholeFlows  # noqa: PLC0415
        from midhaul.network.ideal import ideal_fct_ns  # noqa: PLC0415  slow to import

        self._whole = WholeFlows(problem)
        self._problem, self._corrector = problem, corrector
        self._ideal_ns = ideal_fct_ns(problem)
        self._looked: list[LookedAt] = []
        self._sampled = None
        if len(problem.flows):
            rng = np.random.default_rng([problem.seed, _DRAWN])
            self._sampled = draw_paths(
                problem.routes, problem.flows.size_bytes, n_paths, rng
            )
        self._n_paths = 0 if self._sampled is None else len(self._sampled.paths)

    @property
    def share_done(self) -> float:
        """Share of the paths that have been looked at."""
        return len(self._looked) / self._n_paths if self._n_paths else 1.0

    def advance(self, n_events: int) -> bool:
        """Look at paths with about so many flows; True when there is none left."""
        n_seen = 0
        while len(self._looked) < self._n_paths and n_seen < n_events:
            assert self._sampled is not None  # noqa: S101  there are paths
            path = self._sampled.paths[len(self._looked)]
            one = look_at_path(self._whole, path)
            self._looked.append(one)
            n_seen += one.n_flows
        return len(self._looked) >= self._n_paths

    def state(self) -> dict[str, np.ndarray]:
        """How far it got; paths are looked at again, which takes milliseconds each."""
        return {"n": np.array([len(self._looked)]), "problem": self._identity()}

    def restore(self, state: Arrays) -> None:
        """Go on from what :meth:`state` gave; a DataError if that is of another."""
        found = state.get("problem", np.zeros(0))
        if not np.array_equal(found, self._identity()):
            message = "the state is of another problem, or another version of estimate"
            raise DataError(message, "estimate from the start")
        if self._sampled is not None:
            paths = self._sampled.paths[: int(state["n"][0])]
            self._looked = [look_at_path(self._whole, path) for path in paths]

    def results(self) -> FlowResults:
        """What is known so far; no flow has ended before all paths are looked at."""
        problem = self._problem
        flows, n = problem.flows, len(problem.flows)
        fct_ns = np.full(n, -1, np.int64)
        if n and len(self._looked) >= self._n_paths:
            fct_ns = np.ceil(self._ideal_ns * self._slowdowns()).astype(np.int64)
        end_ns = int((flows.start_ns + fct_ns)[fct_ns >= 0].max(initial=0))
        if problem.until_ns is not None:
            fct_ns = np.where(flows.start_ns + fct_ns > problem.until_ns, -1, fct_ns)
            is_cut = bool((fct_ns < 0).any())
            end_ns = problem.until_ns if is_cut else min(end_ns, problem.until_ns)
        links = self._links()
        return FlowResults(
            start_ns=flows.start_ns.copy(),
            fct_ns=fct_ns,
            ideal_fct_ns=self._ideal_ns,
            n_retransmitted=np.zeros(n, np.int64),
            n_marked=np.zeros(n, np.int64),
            busiest_link=busiest_links(problem.routes, links.busy_ns),
            links=links,
            timeline=None,
            n_events=sum(one.n_flows for one in self._looked),
            end_ns=end_ns,
            problem=problem,
        )

    def _slowdowns(self) -> Float64[np.ndarray, " n"]:
        """A slowdown for each flow, of its path or of its class in the network."""
        from midhaul.network.fluid.arrivals import (  # noqa: PLC0415  slow to import
            group_routes,
        )

        problem, sampled = self._problem, self._sampled
        assert sampled is not None  # noqa: S101  there are flows
        correction = self._corrector.predict([one.features for one in self._looked])
        rng = np.random.default_rng([problem.seed, _FLOWS])
        n = len(problem.flows)
        share, pick = rng.random(n), rng.random(n)
        index = {path: k for k, path in enumerate(sampled.paths)}
        routes = problem.routes
        way_of, firsts = group_routes(
            routes.offsets, routes.links, np.zeros(n, np.int32)
        )
        ways = (tuple(routes.of(flow).tolist()) for flow in firsts.tolist())
        of_flow = np.array([index.get(way, -1) for way in ways])[way_of]
        classes = size_class(problem.flows.size_bytes)
        strange = of_flow < 0
        of_flow[strange] = self._others(correction, classes[strange], pick[strange])
        logs = np.log(correction.slowdown[of_flow, classes])
        return np.exp(np.minimum(_at(logs, share), _MOST_LOG))

    def _others(
        self,
        correction: Correction,
        classes: Int64[np.ndarray, " k"],
        pick: Float64[np.ndarray, " k"],
    ) -> Int64[np.ndarray, " k"]:
        """A drawn path for each flow of any other, by what it stands for in a class."""
        assert self._sampled is not None  # noqa: S101  there are paths
        weights = class_weights(self._problem, self._sampled, correction)
        found = np.zeros(len(classes), np.int64)
        for b, name in enumerate(SIZE_CLASSES):
            mine = classes == b
            weight = weights.get(name, weights["all"]).sum(axis=1)
            total = np.cumsum(weight)
            at = np.searchsorted(total, pick[mine] * total[-1], side="right")
            found[mine] = np.minimum(at, len(total) - 1)
        return found

    def _links(self) -> LinkResults:
        """What links carry of all flows, as soon as all is known."""
        from midhaul.network.ideal import wire_bytes  # noqa: PLC0415  slow to import

        problem = self._problem
        m = len(problem.topology.links)
        sent = np.zeros(m)
        if len(self._looked) >= self._n_paths:
            wire = wire_bytes(problem.flows, problem.transports)
            of_hops = np.repeat(wire, np.diff(problem.routes.offsets))
            sent = np.bincount(problem.routes.links, of_hops, m)
        rates = link_table(problem.topology).rate_bps
        none = np.zeros(m, np.int64)
        return LinkResults(
            n_bytes=np.rint(sent).astype(np.int64),
            busy_ns=np.rint(8e9 * sent / rates).astype(np.int64),
            n_dropped=none,
            n_marked=none.copy(),
            paused_ns=none.copy(),
            max_queue_bytes=none.copy(),
            samples_ns=np.zeros(0, np.int64),
            samples_bytes=np.zeros((0, m), np.int64),
        )

    def _identity(self) -> np.ndarray:
        said = f"estimate {_VERSION} {self._corrector.name} {self._n_paths} ".encode()
        return np.frombuffer(said + fingerprint(self._problem), np.uint8).copy()


def _at(
    logs: Float64[np.ndarray, "n q"], share: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """The percentile at a share of its own in each row."""
    right = np.clip(np.searchsorted(LEVELS, share), 1, len(LEVELS) - 1)
    step = (share - LEVELS[right - 1]) / (LEVELS[right] - LEVELS[right - 1])
    step = np.clip(step, 0.0, 1.0)
    rows = np.arange(len(logs))
    return logs[rows, right - 1] * (1 - step) + logs[rows, right] * step
