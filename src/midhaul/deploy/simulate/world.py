"""The simulation: one gateway under one policy, event by event.

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
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.deploy.control import State, plan_rates
from midhaul.deploy.eviction.transitions import holding, with_use
from midhaul.deploy.simulate.agenda import Agenda, What
from midhaul.deploy.simulate.ledger import Ledger
from midhaul.deploy.simulate.pulling import Puller
from midhaul.deploy.simulate.records import Decision, History
from midhaul.deploy.simulate.slots import begin_slot
from midhaul.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.deploy.control import Policy
    from midhaul.deploy.problem import Analytic
    from midhaul.deploy.simulate.agenda import Event
    from midhaul.deploy.simulate.records import Move, MoveOutcome, Pull
    from midhaul.deploy.simulate.scenario import Scenario

_TIME = 1e-9
"""Relative width of a moment: floating-point times closer than this are one."""


def simulate_gateway(
    scenario: Scenario,
    policy: Policy,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> History:
    """What happens to a gateway under a policy.

    Args:
        scenario: what comes.
        policy: how it decides.
        clock: seconds on any monotonic clock, to time the algorithms.

    Raises:
        DataError: a slot is no whole number of rate periods, or an analytic has no QoS
            curves.
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
        self._puller = Puller(scenario.images, scenario.pull_bps)
        self._moves: dict[str, Move] = {}
        self._pulled: set[str] = set()
        self._history = History()
        self._ledger = Ledger(scenario, policy, self._history)
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

    def _pull_ends(self, pull: Pull) -> None:
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
