"""Whether a live run may be believed: what was demanded, found, and what to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.live.samples import column
from midhaul.deploy.live.tables import MESSAGES, PERIODS, REPEATS
from midhaul.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.deploy.live.config import LiveConfig
    from midhaul.runs.run import Run

    _Finding = tuple[str, str]

_LEAVE_CPU = "Leave the machine to this run, or lower requests.rate_per_min."


def judge_run(config: LiveConfig, run: Run) -> Verdict:
    """Hold a run to its limits."""
    findings = [*_ending(config, run), *_machine(config, run), *_queues(config, run)]
    return Verdict(
        reasons=tuple(reason for reason, _ in findings),
        advice=tuple(advice for _, advice in findings),
    )


def _ending(config: LiveConfig, run: Run) -> Iterator[_Finding]:
    n = run.read(REPEATS).num_rows
    if n < config.n_repeats:
        yield (
            f"{config.n_repeats} repetitions were asked for, {n} came to their end.",
            "Resume the run; repetitions that came to their end are kept.",
        )


def _machine(config: LiveConfig, run: Run) -> Iterator[_Finding]:
    limits = config.limits
    for row in run.read(REPEATS).to_pylist():
        where = f"in repetition {row['repeat']}"
        if row["busy"] > limits.max_busy:
            yield (
                f"At most {limits.max_busy:.0%} of the CPU time may be in use, found "
                f"{row['busy']:.0%} {where}.",
                _LEAVE_CPU,
            )
        if row["late_p99_s"] > limits.max_late_s:
            yield (
                f"Messages may be sent {limits.max_late_s:g} s late at p99, found "
                f"{row['late_p99_s']:.3g} s {where}.",
                _LEAVE_CPU,
            )
        error = 1 - row["pull_bps"] / config.link.downlink_bps
        if not error <= limits.max_link_error:
            yield (
                f"Pulls may be {limits.max_link_error:.0%} slower than the downlink, "
                f"found {error:.0%} {where}.",
                "Lower link.downlink_bps to what this machine can shape and unpack, or "
                "raise images.scale: small layers are slow.",
            )


def _queues(config: LiveConfig, run: Run) -> Iterator[_Finding]:
    limits = config.limits
    late = column(run.read(PERIODS).to_pylist(), "late_s")
    if len(late) and late.max() > limits.max_period_late_s:
        yield (
            f"Rate periods may begin {limits.max_period_late_s:g} s late, found "
            f"{late.max():.2g} s.",
            "Choose a faster planning.placer or planning.allocator, or lower "
            "time_scale.",
        )
    scored = [r for r in run.read(MESSAGES).to_pylist() if r["status"] == "scored"]
    if not scored:
        yield (
            "Some message has to be scored, none was.",
            "Look at the logs in files/live of the run's folder.",
        )
        return
    waits = column(scored, "scored_s") - column(scored, "received_s")
    wait_s = float(np.percentile(waits, 95))
    if wait_s > limits.max_queue_s:
        yield (
            f"Messages may wait {limits.max_queue_s:g} s at p95 to be scored once "
            f"they have come, found {wait_s:.2g} s.",
            "The consumers are too slow: take a smaller workload.detector. "
            + _LEAVE_CPU,
        )
