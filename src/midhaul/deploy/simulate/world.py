"""Event-by-event simulation of one gateway under one policy.

What happens at one moment happens in this order: analytics leave, layers come, started
analytics begin to run, analytics arrive, and then the policy decides.

Differences from the seed's experiment (github.com/rita33cool1/IoT-System-Server):

1. A pull that nobody wants any more by its begin is skipped; one that has begun goes on
   to its end or the end of the slot, as there.
2. At the end of a slot a pull stops at once and loses the layer that was coming;
   complete layers stay.
3. Unpacking and starting go on beside the next pull.
4. Quality is what the QoS curve says of the rate granted, less that of messages which
   wait for the uplink beyond their deadline. Nothing is measured.

The *agenda* says what happens next, and in which order at one moment.

*Pulls* of a slot go one after the other, layer by layer.

A *slot* begins with a plan: make room, and write down what was promised.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from midhaul.deploy.control import State, make_room, plan_rates, plan_slot
from midhaul.deploy.simulate.ledger import PeriodLedger
from midhaul.deploy.simulate.scenario import (
    Decision,
    Eviction,
    History,
    Move,
    SimulatedPull,
)
from midhaul.deploy.store.store_index import (
    holding,
    with_image,
    with_layer,
    with_use,
    without,
)
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midhaul.deploy.control import Policy
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.problem import Analytic, ContainerImage, Layer
    from midhaul.deploy.simulate.scenario import MoveOutcome, Scenario
    from midhaul.deploy.store.store_index import StoreState


class What(IntEnum):
    """What happens; smaller numbers first at one moment."""

    LEAVE = 0
    LAYER = 1
    START = 2
    ARRIVE = 3
    DECIDE = 4


@dataclass(order=True, slots=True, frozen=True)
class Event:
    """One thing that happens, to an analytic or to nobody in particular.

    ``number`` tells events of one moment and sort apart, in the order of their entry.
    """

    at_s: float
    what: What
    number: int
    analytic: Analytic | None = field(default=None, compare=False)


class Agenda:
    """Events to come, the next one first."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._n_entered = 0

    @property
    def next_s(self) -> float:
        """When the next event is; infinite when there is none."""
        return self._events[0].at_s if self._events else float("inf")

    def enter(self, at_s: float, what: What, analytic: Analytic | None = None) -> None:
        """Note that something will happen."""
        self._n_entered += 1
        heapq.heappush(self._events, Event(at_s, what, self._n_entered, analytic))

    def take(self) -> Event:
        """Take the next event."""
        return heapq.heappop(self._events)

    def strike(self, what: What) -> None:
        """Forget all events of one sort."""
        self._events = [event for event in self._events if event.what is not what]
        heapq.heapify(self._events)


class SimulatedPuller:
    """Carries out pulls; the world asks it what comes next and when."""

    def __init__(self, images: Mapping[str, ContainerImage], pull_bps: float) -> None:
        self._images = images
        self._pull_bps = pull_bps
        self._queue: deque[SimulatedPull] = deque()
        self._current: SimulatedPull | None = None
        self._missing: deque[Layer] = deque()
        self._layer_began_s = 0.0

    @property
    def is_pulling(self) -> bool:
        """True while bytes come."""
        return self._current is not None

    @property
    def layer_ends_s(self) -> float:
        """When the layer that is coming is there."""
        size = self._missing[0].compressed_bytes
        return self._layer_began_s + size * 8 / self._pull_bps

    def plan(self, pulls: list[SimulatedPull]) -> None:
        """Take over the pulls of a new slot; the old ones were stopped."""
        self._queue.extend(pulls)

    def begin_next(
        self, now_s: float, store: StoreState, wanted: frozenset[str]
    ) -> tuple[StoreState, list[SimulatedPull]]:
        """Begin the next pull that somebody of those in ``wanted`` still waits for.

        Returned are the disk, and pulls that ended at once, as nothing was missing.
        """
        ended: list[SimulatedPull] = []
        while self._queue and self._current is None:
            pull = self._queue.popleft()
            if not wanted.intersection(pull.movers):
                pull.outcome = "skipped"
                continue
            image = self._images[pull.image]
            pull.begins_s = self._layer_began_s = now_s
            self._missing = deque(
                layer for layer in image.layers if layer.digest not in store.layers
            )
            if self._missing:
                self._current = pull
            else:
                store = self._finish(pull, now_s, store)
                ended.append(pull)
        return store, ended

    def layer_arrives(
        self, now_s: float, store: StoreState
    ) -> tuple[StoreState, SimulatedPull | None]:
        """Keep the layer that came; the disk, and the pull if that was its last one."""
        pull = self._current
        if pull is None:
            return store, None
        layer = self._missing.popleft()
        store = with_layer(store, layer, now_s)
        pull.pulled_bytes += layer.compressed_bytes
        self._layer_began_s = now_s
        if self._missing:
            return store, None
        self._current = None
        return self._finish(pull, now_s, store), pull

    def stop(self, now_s: float) -> None:
        """Stop at the end of a slot; the layer that was coming is lost."""
        if self._current is not None:
            part = int((now_s - self._layer_began_s) * self._pull_bps / 8)
            part = min(part, self._missing[0].compressed_bytes)
            self._current.pulled_bytes += part
            self._current.outcome = "cut"
        for pull in self._queue:
            pull.outcome = "cut"
        self._queue.clear()
        self._missing.clear()
        self._current = None

    def _finish(
        self, pull: SimulatedPull, now_s: float, store: StoreState
    ) -> StoreState:
        pull.ends_s, pull.outcome = now_s, "done"
        return with_image(store, self._images[pull.image], now_s)


def pulls_of(placement: Placement, state: State) -> list[SimulatedPull]:
    """The pulls of a placement, and empty ones for images that need none."""
    placed = [a for a in state.in_cloud if a.name in placement.gateway_of]
    movers: dict[str, list[str]] = {}
    for analytic in placed:
        movers.setdefault(analytic.image, []).append(analytic.name)
    begins = {pull.image: pull.begins_s for pull in placement.pulls}
    sizes = {pull.image: pull.compressed_bytes for pull in placement.pulls}
    found: list[SimulatedPull] = []
    for image, names in movers.items():
        ends_s = _planned_end_s(placement, state, image)
        pull = SimulatedPull(
            image=image,
            slot_s=state.now_s,
            planned_begins_s=state.now_s + begins.get(image, ends_s),
            planned_ends_s=state.now_s + ends_s,
            planned_bytes=sizes.get(image, 0),
            movers=tuple(names),
        )
        found.append(pull)
    rank = {pull.image: number for number, pull in enumerate(placement.pulls)}

    def order(pull: SimulatedPull) -> tuple[float, int]:
        # What needs no pull of its own comes as soon as the others brought its layers.
        return (pull.planned_ends_s, rank.get(pull.image, len(rank)))

    return sorted(found, key=order)


def _planned_end_s(placement: Placement, state: State, image: str) -> float:
    """When all layers of an image are there, after the begin of the slot."""
    digests = {layer.digest for layer in state.images[image].layers}
    return max(
        (
            pull.ends_s
            for pull in placement.pulls
            if pull.image == image or digests.intersection(pull.digests)
        ),
        default=0.0,
    )


def begin_slot(
    state: State,
    policy: Policy,
    history: History,
    *,
    end_s: float,
    clock: Callable[[], float],
) -> tuple[State, list[SimulatedPull], list[Move]]:
    """Decide what to move, delete what must go, and put those who move on their way.

    Returned are the state after that, the pulls in their order, and the moves.
    """
    begun_s = clock()
    placement = plan_slot(state, policy)
    planned_s = clock()
    victims = make_room(state, placement, policy)
    _note(state, placement, victims, (begun_s, planned_s, clock()), history)
    pulls = pulls_of(placement, state)
    moves = _moves(state, policy, placement, pulls, end_s)
    history.pulls.extend(pulls)
    history.moves.extend(moves)
    stays = tuple(a for a in state.in_cloud if a.name not in placement.gateway_of)
    after = replace(
        state,
        in_cloud=stays,
        moving=(*state.moving, *(move.analytic for move in moves)),
        store=without(state.store, victims),
    )
    return after, pulls, moves


def _note(
    state: State,
    placement: Placement,
    victims: tuple[str, ...],
    times_s: tuple[float, float, float],
    history: History,
) -> None:
    begun_s, planned_s, ended_s = times_s
    decisions = [
        Decision(
            at_s=state.now_s,
            what="placement",
            took_s=planned_s - begun_s,
            n=len(state.in_cloud),
            value=placement.value,
            bound=placement.bound,
        ),
        Decision(
            at_s=state.now_s,
            what="eviction",
            took_s=ended_s - planned_s,
            n=len(victims),
        ),
    ]
    history.decisions.extend(decisions)
    layers = state.store.layers
    history.evictions.extend(
        Eviction(
            at_s=state.now_s,
            digest=digest,
            uncompressed_bytes=layers[digest].uncompressed_bytes,
        )
        for digest in victims
    )


def _moves(
    state: State,
    policy: Policy,
    placement: Placement,
    pulls: list[SimulatedPull],
    end_s: float,
) -> list[Move]:
    """What the plan promises to each analytic that it moves."""
    ends_s = {name: pull.planned_ends_s for pull in pulls for name in pull.movers}
    slot_ends_s = min(state.now_s + policy.slot_s, end_s)
    moves: list[Move] = []
    for analytic in state.in_cloud:
        if analytic.name not in placement.gateway_of:
            continue
        leaves_s = min(analytic.departure_s, end_s)
        startup_s = policy.startup.of(state.images[analytic.image])
        moves.append(
            Move(
                analytic=analytic,
                slot_s=state.now_s,
                planned_starts_s=ends_s[analytic.name] + startup_s,
                promised_until_s=leaves_s if policy.sees_lifetimes else slot_ends_s,
                leaves_s=leaves_s,
            )
        )
    return moves


_TIME = 1e-9
"""Relative width of a moment: floating-point times closer than this are one."""


def simulate_gateway(
    scenario: Scenario,
    policy: Policy,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> History:
    """What happens to a gateway under a policy; the clock times the algorithms.

    A DataError where a slot is no whole number of rate periods, or an analytic has no
    QoS curves.
    """
    n = policy.slot_s / policy.rate_period_s
    if n < 1 or abs(n - round(n)) > _TIME * n:
        message = (
            f"policy {policy.name}: expected slots of a whole number of rate periods, "
            f"found {policy.slot_s:g} s and {policy.rate_period_s:g} s"
        )
        raise DataError(message)
    return _World(scenario, policy, clock, periods_per_slot=round(n)).run()


class _World:
    """The state of a simulation; used once."""

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy,
        clock: Callable[[], float],
        *,
        periods_per_slot: int,
    ) -> None:
        self._scenario, self._policy, self._clock = scenario, policy, clock
        self._periods_per_slot = periods_per_slot
        self._n_periods = 0
        gateway = replace(scenario.gateway, downlink_bps=scenario.network.downlink_bps)
        self._state = State(now_s=0.0, gateway=gateway, images=scenario.images)
        self._puller = SimulatedPuller(scenario.images, scenario.pull_bps)
        self._moves: dict[str, Move] = {}
        self._pulled: set[str] = set()
        self._history = History()
        self._ledger = PeriodLedger(scenario, policy, self._history)
        self._agenda = Agenda()

    def run(self) -> History:
        """Let everything happen until the end."""
        for analytic in self._scenario.analytics:
            self._agenda.enter(analytic.arrival_s, What.ARRIVE, analytic)
        self._agenda.enter(0.0, What.DECIDE)
        end_s = self._scenario.duration_s
        while self._agenda.next_s < end_s * (1 - _TIME):
            event = self._agenda.take()
            self._pass_time(event.at_s)
            self._happen(event)
        self._pass_time(end_s)
        self._ledger.close(self._state)
        self._ledger.finish()
        self._judge_pulls()
        return self._history

    def _pass_time(self, now_s: float) -> None:
        self._ledger.advance(self._state, now_s, is_pulling=self._puller.is_pulling)
        self._state = replace(self._state, now_s=now_s)

    def _happen(self, event: Event) -> None:
        match event.what, event.analytic:
            case What.DECIDE, _:
                self._decide()
            case What.LAYER, _:
                self._layer_comes()
            case What.ARRIVE, analytic if analytic is not None:
                in_cloud = (*self._state.in_cloud, analytic)
                self._state = replace(self._state, in_cloud=in_cloud)
                self._agenda.enter(analytic.departure_s, What.LEAVE, analytic)
            case What.LEAVE, analytic if analytic is not None:
                self._leave(analytic)
            case What.START, analytic if analytic is not None:
                self._start(analytic)
            case _:
                pass

    def _decide(self) -> None:
        """Begin a rate period, and a slot where one is due."""
        now_s = self._state.now_s
        if self._n_periods:
            self._ledger.close(self._state)
        if self._n_periods % self._periods_per_slot == 0:
            self._begin_slot()
        begun_s = self._clock()
        free_bps = self._ledger.free_bps
        asked, granted = plan_rates(self._state, self._policy, free_bps)
        took_s = self._clock() - begun_s
        self._history.decisions.append(
            Decision(
                at_s=now_s,
                what="rates",
                took_s=took_s,
                n=len(asked),
                value=granted.value,
                bound=granted.bound,
            )
        )
        self._ledger.open(self._state, asked, granted)
        self._n_periods += 1
        self._agenda.enter(self._n_periods * self._policy.rate_period_s, What.DECIDE)

    def _begin_slot(self) -> None:
        """Stop what is left of the old slot, plan, make room, and begin to pull."""
        self._puller.stop(self._state.now_s)
        self._agenda.strike(What.LAYER)
        for analytic in self._state.moving:
            if analytic.name not in self._pulled:
                self._give_up(analytic, "cut", stays=True)
        using = [*self._state.on_gateway, *self._state.moving]
        store = holding(
            self._state.store, self._scenario.images, [a.image for a in using]
        )
        self._state, pulls, moves = begin_slot(
            replace(self._state, store=store),
            self._policy,
            self._history,
            end_s=self._scenario.duration_s,
            clock=self._clock,
        )
        self._moves |= {move.analytic.name: move for move in moves}
        self._puller.plan(pulls)
        self._pull_on()

    def _pull_on(self) -> None:
        """Begin the next pull, if there is one."""
        now_s = self._state.now_s
        wanted = frozenset(analytic.name for analytic in self._state.moving)
        store, ended = self._puller.begin_next(now_s, self._state.store, wanted)
        self._state = replace(self._state, store=store)
        for pull in ended:
            self._pull_ends(pull)
        if self._puller.is_pulling:
            self._agenda.enter(self._puller.layer_ends_s, What.LAYER)

    def _layer_comes(self) -> None:
        store, ended = self._puller.layer_arrives(self._state.now_s, self._state.store)
        self._state = replace(self._state, store=store)
        if ended is None:
            self._agenda.enter(self._puller.layer_ends_s, What.LAYER)
        else:
            self._pull_ends(ended)
            self._pull_on()

    def _pull_ends(self, pull: SimulatedPull) -> None:
        """Start those who waited for it and are still there."""
        takes_s = self._scenario.startup.of(self._scenario.images[pull.image])
        for analytic in self._state.moving:
            if analytic.name in pull.movers:
                self._pulled.add(analytic.name)
                self._agenda.enter(self._state.now_s + takes_s, What.START, analytic)

    def _start(self, analytic: Analytic) -> None:
        state = self._state
        if analytic not in state.moving:
            return
        move = self._moves[analytic.name]
        move.starts_s, move.outcome = state.now_s, "started"
        self._state = replace(
            state,
            moving=tuple(a for a in state.moving if a is not analytic),
            on_gateway=(*state.on_gateway, analytic),
            store=with_use(state.store, analytic.image, state.now_s),
        )

    def _leave(self, analytic: Analytic) -> None:
        state = self._state
        if analytic in state.moving:
            has_image = analytic.name in self._pulled
            self._give_up(
                analytic,
                "left while starting" if has_image else "left before the pull ended",
                stays=False,
            )
        elif analytic in state.on_gateway:
            rest = tuple(a for a in state.on_gateway if a is not analytic)
            store = with_use(state.store, analytic.image, state.now_s, n_new=0)
            self._state = replace(state, on_gateway=rest, store=store)
        else:
            rest = tuple(a for a in state.in_cloud if a is not analytic)
            self._state = replace(state, in_cloud=rest)

    def _give_up(
        self, analytic: Analytic, outcome: MoveOutcome, *, stays: bool
    ) -> None:
        """Take an analytic from the way to the gateway, back to the cloud or away."""
        state = self._state
        self._moves[analytic.name].outcome = outcome
        self._state = replace(
            state,
            moving=tuple(a for a in state.moving if a is not analytic),
            in_cloud=(*state.in_cloud, analytic) if stays else state.in_cloud,
        )

    def _judge_pulls(self) -> None:
        started = {
            (m.analytic.name, m.slot_s) for m in self._history.moves if m.is_realised
        }
        for pull in self._history.pulls:
            is_used = any((name, pull.slot_s) in started for name in pull.movers)
            is_over = pull.outcome != "open"
            pull.is_wasted = bool(pull.pulled_bytes) and is_over and not is_used
