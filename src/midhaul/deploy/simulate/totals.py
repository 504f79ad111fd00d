"""The sums of one repetition, of which all metrics are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midhaul.deploy.simulate.records import History, Period


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
