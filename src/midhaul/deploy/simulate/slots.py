"""The begin of a slot: plan, make room, and write down what was promised."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from midhaul.deploy.control import make_room, plan_slot
from midhaul.deploy.eviction.transitions import without
from midhaul.deploy.simulate.pulling import pulls_of
from midhaul.deploy.simulate.records import Decision, Eviction, Move

if TYPE_CHECKING:
    from collections.abc import Callable

    from midhaul.deploy.control import Policy, State
    from midhaul.deploy.placement.base import Placement
    from midhaul.deploy.simulate.records import History, Pull


def begin_slot(
    state: State,
    policy: Policy,
    history: History,
    *,
    end_s: float,
    clock: Callable[[], float],
) -> tuple[State, list[Pull], list[Move]]:
    """Decide what to move, delete what must go, and put those who move on their way.

    Args:
        state: at the begin of the slot.
        policy: how to decide.
        history: where everything is written down.
        end_s: when the experiment ends.
        clock: seconds on any monotonic clock.

    Returns:
        The state after that, the pulls in their order, and the moves.
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
    pulls: list[Pull],
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
