"""The load generator: sends what a scenario says and records what became of it.

An open loop counts latency from the *planned* send and never waits for an answer, so a
stalled node cannot hide its own queue ("coordinated omission", Tene). In a closed loop a
request is planned for the moment at which the previous one was answered.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from midhaul.testbed.records import RequestRecord
from midhaul.testbed.scenarios import Offline, Server, cycle_length, node_of
from midhaul.testbed.warmup import SteadyWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from midhaul.testbed.clock import Clock
    from midhaul.testbed.scenarios import Scenario, Stop
    from midhaul.testbed.warmup import Warmup

Ending = Literal["complete", "arrivals over", "too many outstanding", "nobody answers"]


class Reply(Protocol):
    """What the generator needs to know of an answer; a failure is an answer too."""

    @property
    def status(self) -> str:
        """``ok``, or what went wrong: timeout, refused, broken, http-CODE."""
        ...

    @property
    def error(self) -> str | None:
        """What the node or the client said; none when ok."""
        ...

    @property
    def meta(self) -> Mapping[str, object]:
        """What the answer says about itself, by column name."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Body sent."""
        ...

    @property
    def received_bytes(self) -> int:
        """Body of the answer."""
        ...


class Target(Protocol):
    """Where requests go."""

    async def send(
        self, node: str, images: Sequence[str], *, timeout_s: float
    ) -> Reply:
        """Ask a node about some images; time-outs and failures are replies.

        Args:
            node: name of the node.
            images: ids of the images.
            timeout_s: after which the reply is a time-out.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """When a load is ended early, because going on would prove nothing.

    Attributes:
        max_outstanding: requests on their way at once; bounds the memory.
        max_failures: failures in a row.
    """

    max_outstanding: int = 10_000
    max_failures: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a cell's load came to.

    Attributes:
        records: every request, warm-up included, in the order they were sent.
        ending: how it ended; only ``complete`` asked for all that was wanted.
        is_steady: true when the warm-up ended because two windows agreed, or there was
            none.
    """

    records: tuple[RequestRecord, ...]
    ending: Ending
    is_steady: bool

    @property
    def judged(self) -> tuple[RequestRecord, ...]:
        """The requests after the warm-up."""
        return tuple(record for record in self.records if not record.is_warmup)


async def generate(  # noqa: PLR0913
    scenario: Scenario,
    target: Target,
    images: Sequence[str],
    *,
    stop: Stop,
    nodes: Sequence[str],
    rng: np.random.Generator,
    clock: Clock,
    timeout_s: float,
    warmup: Warmup | None = None,
    guard: Guard | None = None,
    on_done: Callable[[RequestRecord, Reply], None] | None = None,
) -> Load:
    """Send a load and wait for all of its answers.

    Equal ``rng``, ``images`` and ``nodes`` give the judged requests the same images,
    nodes and gaps, however long the warm-up took: cells can be compared in pairs.

    Args:
        scenario: how the workload behaves.
        target: where requests go.
        images: ids, asked in this order and again from the first.
        stop: when enough judged requests were sent.
        nodes: names of the nodes, which take turns.
        rng: chance of the arrivals.
        clock: of all times.
        timeout_s: after which a request counts as failed.
        warmup: when the cell counts as steady; judged from the first request if none.
        guard: when to end early.
        on_done: called with each finished request and its reply, in the loop's thread.

    Raises:
        ValueError: there are no images or no nodes.
    """
    if not images or not nodes:
        message = f"a load needs images and nodes, found {len(images)} and {len(nodes)}"
        raise ValueError(message)
    asker = _Asker(scenario, target, images, nodes, clock, timeout_s, guard, on_done)
    warm_rng, judged_rng = rng.spawn(2)
    if warmup is not None:
        watch = SteadyWatch(warmup, cycle=cycle_length(scenario, len(nodes)))
    raise NotImplementedError
