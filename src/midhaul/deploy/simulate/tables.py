"""Tables of deploy.simulate, and histories as their rows.

Times are seconds after the begin of a repetition, in simulated time; only the times
that algorithms take are measured.

All metrics are made of the sums of each repetition.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from midhaul.deploy.plan.tables import ANALYTIC
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table
from midhaul.stats import known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.deploy.problem import Analytic
    from midhaul.deploy.simulate.config import SimulateConfig
    from midhaul.deploy.simulate.scenario import History, Move, Period, Scenario
    from midhaul.runs.run import Run

REPEAT = Column("repeat", INT32, "Number of the repetition, from 0.")
IMAGE = Column("image", STRING, "Name of the container image.")
PERIOD = Column("begins_s", FLOAT, "Begin of the rate period.")
SLOT = Column("slot_s", FLOAT, "Begin of the slot that planned it.")

CONFIGURATIONS = Table(
    "configurations",
    "One policy.",
    (
        CONFIGURATION,
        Column("name", STRING, "Its short name, unique in the run."),
        Column("placer", STRING, "What moves each slot."),
        Column("allocator", STRING, "Who gets how much of the uplink."),
        Column("eviction", STRING, "Which layers are deleted."),
        Column("settings", STRING, "All its settings, as JSON."),
    ),
)

REQUESTS = Table(
    "requests",
    "One analytic that came; the same for all policies.",
    (
        REPEAT,
        ANALYTIC,
        IMAGE,
        Column("arrival_s", FLOAT, "When it came."),
        Column("lifetime_s", FLOAT, "How long it stayed."),
        Column("weight", FLOAT, "How much it counts."),
        Column("saved_bps", FLOAT, "Upload rate that it saves on the gateway."),
    ),
)

PERIODS = Table(
    "periods",
    "One rate period.",
    (
        CONFIGURATION,
        REPEAT,
        PERIOD,
        Column("lasts_s", FLOAT, "Length."),
        Column("n_cloud", INT, "Analytics in the cloud at its begin."),
        Column("n_moving", INT, "Those of them on their way to the gateway."),
        Column("n_gateway", INT, "Analytics on the gateway at its begin."),
        Column("uplink_bps", FLOAT, "What the uplink carried at most, mean."),
        Column("assumed_bps", FLOAT, "What was forecast that it carries."),
        Column("allocated_bps", FLOAT, "Sum of the rates granted."),
        Column("demanded_bps", FLOAT, "What the steps send that these rates buy."),
        Column("sent_bps", FLOAT, "What crossed the uplink, mean."),
        Column("received_bps", FLOAT, "What was pulled, mean."),
        Column("late_bytes", FLOAT, "Most bytes that waited for the uplink."),
        Column("is_overshoot", BOOL, "True where more was granted than it carried."),
        Column("stored_bytes", INT, "Layers on the disk at its end."),
        Column("n_steps_down", INT, "How often knobs went down within it."),
        Column("n_messages", FLOAT, "Messages sent; one a second where not known."),
        Column("n_late", FLOAT, "Those that waited beyond their deadline."),
        Column(
            "planned_qos",
            FLOAT,
            "Weighted mean quality by the curves; null without analytics.",
        ),
        Column("qos", FLOAT, "The same of what was sent, late messages as 0."),
        Column("bound_qos", FLOAT, "No allocation has more; null when unknown."),
        Column("saved_bps", FLOAT, "Upload rate saved by the gateway, mean."),
    ),
)

RATES = Table(
    "rates",
    "What one analytic was granted in one rate period.",
    (
        CONFIGURATION,
        REPEAT,
        PERIOD,
        ANALYTIC,
        Column("place", STRING, "cloud or gateway."),
        Column("rate_bps", FLOAT, "Upload rate granted."),
        Column("knob", FLOAT, "Setting it buys; null for none."),
        Column("quality", FLOAT, "Quality that the curve says; 0 for none."),
    ),
)

PULLS = Table(
    "pulls",
    "One pull of an image's missing layers.",
    (
        CONFIGURATION,
        REPEAT,
        IMAGE,
        SLOT,
        Column("planned_begins_s", FLOAT, "Begin as planned."),
        Column("planned_ends_s", FLOAT, "End as planned."),
        Column("planned_bytes", INT, "Compressed bytes as planned."),
        Column("begins_s", FLOAT, "Real begin; null where there was none."),
        Column("ends_s", FLOAT, "Real end; null where it did not end."),
        Column("pulled_bytes", INT, "Compressed bytes that came."),
        Column(
            "outcome",
            STRING,
            "done, cut (by the end of its slot), skipped (nobody wanted it any more) "
            "or open (the experiment ended).",
        ),
        Column("is_wasted", BOOL, "True where bytes came and no analytic used them."),
    ),
)

MOVES = Table(
    "moves",
    "One analytic that a placement moves to the gateway.",
    (
        CONFIGURATION,
        REPEAT,
        ANALYTIC,
        IMAGE,
        SLOT,
        Column("planned_starts_s", FLOAT, "When it was to start on the gateway."),
        Column("starts_s", FLOAT, "When it did; null where it never did."),
        Column("leaves_s", FLOAT, "When it leaves, or the repetition ends."),
        Column("saved_bps", FLOAT, "Upload rate that it saves on the gateway."),
        Column(
            "planned_saved_bits",
            FLOAT,
            "Saved from the planned start to its leave; without lifetimes, to the end "
            "of the slot.",
        ),
        Column("saved_bits", FLOAT, "Saved within that time from the real start."),
        Column("is_realised", BOOL, "Whether it moved; null where the end came first."),
        Column(
            "outcome",
            STRING,
            "started, left before the pull ended, left while starting, cut (by the end "
            "of its slot) or open (the experiment ended).",
        ),
    ),
)

EVICTIONS = Table(
    "evictions",
    "One layer that was deleted to make room.",
    (
        CONFIGURATION,
        REPEAT,
        Column("at_s", FLOAT, "When."),
        Column("digest", STRING, "The layer."),
        Column("uncompressed_bytes", INT, "What became free."),
    ),
)

DECISIONS = Table(
    "algorithm_times",
    "One decision and how long it took.",
    (
        CONFIGURATION,
        REPEAT,
        Column("at_s", FLOAT, "When it was taken."),
        Column("what", STRING, "placement, eviction or rates."),
        Column("took_s", FLOAT, "Time it took, measured."),
        Column("n", INT, "Analytics that it was about; layers for an eviction."),
        Column("value", FLOAT, "Value of the decision; null for evictions."),
        Column("bound", FLOAT, "No decision has a higher value; null when unknown."),
    ),
)

REPEATS = Table(
    "repeats",
    "One repetition under one policy: the sums that the summary is made of.",
    (
        CONFIGURATION,
        REPEAT,
        Column("n_requests", INT, "Analytics that came."),
        Column("n_periods", INT, "Rate periods with an analytic."),
        Column("qos", FLOAT, "Sum over these of the quality, late messages as 0."),
        Column("planned_qos", FLOAT, "Sum over these of the quality as planned."),
        Column("n_bounded", INT, "Those of them whose bound is known."),
        Column("bounded_qos", FLOAT, "Sum of the quality of those."),
        Column("bound_qos", FLOAT, "Sum of their bounds."),
        Column("analytic_s", FLOAT, "Analytics times the time they were there."),
        Column("gateway_s", FLOAT, "The same on the gateway."),
        Column("duration_s", FLOAT, "Simulated time."),
        Column("n_planned", INT, "Moves planned whose end is known."),
        Column("n_realised", INT, "Those that happened."),
        Column("n_open", INT, "Moves that the end of the experiment cut off."),
        Column("planned_bps", FLOAT, "Saved rate of the moves planned."),
        Column("realised_bps", FLOAT, "Saved rate of those that happened."),
        Column("planned_saved_bits", FLOAT, "Upload that they promised to save."),
        Column("realised_saved_bits", FLOAT, "What was saved of it."),
        Column("saved_bits", FLOAT, "All upload saved by the gateway."),
        Column("sent_bits", FLOAT, "What crossed the uplink."),
        Column("carried_bits", FLOAT, "What the uplink could have carried."),
        Column("n_messages", FLOAT, "Messages sent."),
        Column("n_late", FLOAT, "Those that waited beyond their deadline."),
        Column("n_overshoot", INT, "Rate periods with more granted than carried."),
        Column("max_overshoot", FLOAT, "Largest excess, as a share of the uplink."),
        Column("max_late_bytes", FLOAT, "Most bytes that waited for the uplink."),
        Column("pulled_bytes", INT, "Compressed bytes pulled."),
        Column("wasted_bytes", INT, "Those that no analytic used."),
        Column("deleted_bytes", INT, "Bytes deleted to make room."),
        Column("stored_byte_s", FLOAT, "Bytes on the disk times their time there."),
        Column("n_placements", INT, "Slots."),
        Column("placement_s", FLOAT, "Time that placing took together."),
        Column("max_placement_s", FLOAT, "Longest time of one."),
        Column("n_allocations", INT, "Rate periods, all."),
        Column("allocation_s", FLOAT, "Time that dividing the uplink took together."),
        Column("max_allocation_s", FLOAT, "Longest time of one."),
    ),
)

SIMULATE_TABLES = (
    CONFIGURATIONS,
    REQUESTS,
    PERIODS,
    RATES,
    PULLS,
    MOVES,
    EVICTIONS,
    DECISIONS,
    REPEATS,
    SUMMARY,
)


def totals_of(history: History) -> dict[str, float]:
    """The sums of one repetition, by the column of the table ``repeats``."""
    return {
        **_quality(history.periods),
        **_traffic(history),
        **_moves(history),
        **_times(history),
    }


def _quality(periods: list[Period]) -> dict[str, float]:
    known = [p for p in periods if p.planned_qos is not None]
    bounded = [p for p in known if p.bound_qos is not None]
    return {
        "n_periods": len(known),
        "qos": sum(p.qos or 0.0 for p in known),
        "planned_qos": sum(p.planned_qos or 0.0 for p in known),
        "n_bounded": len(bounded),
        "bounded_qos": sum(p.planned_qos or 0.0 for p in bounded),
        "bound_qos": sum(p.bound_qos or 0.0 for p in bounded),
    }


def _traffic(history: History) -> dict[str, float]:
    periods = history.periods
    over = [p for p in periods if p.is_overshoot]
    excess = [p.allocated_bps / p.uplink_bps - 1 for p in over if p.uplink_bps > 0]
    return {
        "analytic_s": sum((p.n_cloud + p.n_gateway) * p.lasts_s for p in periods),
        "gateway_s": sum(p.n_gateway * p.lasts_s for p in periods),
        "duration_s": sum(p.lasts_s for p in periods),
        "saved_bits": sum(p.saved_bps * p.lasts_s for p in periods),
        "sent_bits": sum(p.sent_bps * p.lasts_s for p in periods),
        "carried_bits": sum(p.uplink_bps * p.lasts_s for p in periods),
        "n_messages": sum(p.n_messages for p in periods),
        "n_late": sum(p.n_late for p in periods),
        "n_overshoot": len(over),
        "max_overshoot": max(excess, default=0.0),
        "max_late_bytes": max((p.late_bytes for p in periods), default=0.0),
        "pulled_bytes": sum(p.pulled_bytes for p in history.pulls),
        "wasted_bytes": sum(p.pulled_bytes for p in history.pulls if p.is_wasted),
        "deleted_bytes": sum(e.uncompressed_bytes for e in history.evictions),
        "stored_byte_s": sum(p.stored_bytes * p.lasts_s for p in periods),
    }


def _moves(history: History) -> dict[str, float]:
    known = [move for move in history.moves if move.is_realised is not None]
    done = [move for move in known if move.is_realised]
    return {
        "n_planned": len(known),
        "n_realised": len(done),
        "n_open": len(history.moves) - len(known),
        "planned_bps": sum(move.analytic.saved_bps for move in known),
        "realised_bps": sum(move.analytic.saved_bps for move in done),
        "planned_saved_bits": sum(move.planned_saved_bits for move in known),
        "realised_saved_bits": sum(move.saved_bits for move in known),
    }


def _times(history: History) -> dict[str, float]:
    sums: dict[str, float] = {}
    for what, noun in (("placement", "placement"), ("rates", "allocation")):
        took_s = [d.took_s for d in history.decisions if d.what == what]
        sums |= {
            f"n_{noun}s": len(took_s),
            f"{noun}_s": sum(took_s),
            f"max_{noun}_s": max(took_s, default=0.0),
        }
    return sums


def write_frame(config: SimulateConfig, scenarios: list[Scenario], run: Run) -> None:
    """Write what is known before anything happened; a scenario is of a repetition."""
    run.write(
        CONFIGURATIONS,
        [
            {
                "configuration": number,
                "name": policy.label,
                "placer": policy.placer,
                "allocator": policy.allocator,
                "eviction": policy.eviction,
                "settings": policy.model_dump_json(),
            }
            for number, policy in enumerate(config.policies)
        ],
        part=0,
    )
    for repeat, scenario in enumerate(scenarios):
        rows = [_request_row(analytic, repeat) for analytic in scenario.analytics]
        run.write(REQUESTS, rows, part=repeat)


def _request_row(analytic: Analytic, repeat: int) -> dict[str, object]:
    return {
        "repeat": repeat,
        "analytic": analytic.name,
        "image": analytic.image,
        "arrival_s": analytic.arrival_s,
        "lifetime_s": analytic.lifetime_s,
        "weight": analytic.weight,
        "saved_bps": analytic.saved_bps,
    }


def write_history(
    run: Run,
    history: History,
    configuration: int,
    repeat: int,
    *,
    n_requests: int,
    part: int,
) -> Mapping[str, object]:
    """Write all that happened in one repetition, as one part of each table.

    Its row in the table ``repeats`` is returned, which is to be written last.
    """
    common = {"configuration": configuration, "repeat": repeat}

    def rows(records: Sequence[Any]) -> list[dict[str, object]]:
        return [{**common, **asdict(record)} for record in records]

    pulls = [
        {k: v for k, v in row.items() if k != "movers"} for row in rows(history.pulls)
    ]
    decisions = [
        {**common, **asdict(one), "bound": known(one.bound)}
        for one in history.decisions
    ]
    run.write(PERIODS, rows(history.periods), part=part)
    run.write(RATES, rows(history.rates), part=part)
    run.write(PULLS, pulls, part=part)
    run.write(MOVES, [common | _move_row(move) for move in history.moves], part=part)
    run.write(EVICTIONS, rows(history.evictions), part=part)
    run.write(DECISIONS, decisions, part=part)
    return common | {"n_requests": n_requests} | totals_of(history)


def _move_row(move: Move) -> dict[str, object]:
    return {
        "analytic": move.analytic.name,
        "image": move.analytic.image,
        "slot_s": move.slot_s,
        "planned_starts_s": move.planned_starts_s,
        "starts_s": move.starts_s,
        "leaves_s": move.leaves_s,
        "saved_bps": move.analytic.saved_bps,
        "planned_saved_bits": move.planned_saved_bits,
        "saved_bits": move.saved_bits,
        "is_realised": move.is_realised,
        "outcome": move.outcome,
    }
