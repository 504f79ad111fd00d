"""Validity of a live run: what was demanded, what was found, and what to change.

What a live run needs of the machine is asked for all at once, before it begins.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.live.inputs import network_of
from midhaul.deploy.live.metrics import column
from midhaul.deploy.live.tables import MESSAGES, MOVES, PERIODS, REPEATS
from midhaul.errors import PrerequisiteError
from midhaul.model import Tally, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.deploy.live.config import LiveConfig
    from midhaul.runs.run import Run

    _Finding = tuple[str, str]

_PROGRAMS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "docker-registry": "docker-registry",
    "mosquitto": "mosquitto",
}
_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"
_LIBRARIES = ("aiohttp", "numba", "highspy", "onnxruntime", "cv2")
_SIMULATE = 'simulate instead, which needs none of this: kind = "deploy.simulate"'


def check_machine() -> None:
    """Refuse, in words, where no live run can be.

    Raises:
        PrerequisiteError: something is missing; all of it is named.
    """
    missing, packages = missing_here()
    if not missing:
        return
    hints = [f"apt-get install {' '.join(packages)}"] if packages else []
    message = f"deploy.live needs {'; '.join(missing)}"
    raise PrerequisiteError(message, "; or ".join([*hints, _SIMULATE]))


def missing_here() -> tuple[list[str], list[str]]:
    """What is missing, in words, and the Debian packages that bring it."""
    missing: list[str] = []
    if sys.platform != "linux":
        missing.append(f"Linux (this is {sys.platform})")
    elif os.geteuid() != 0:
        missing.append("root, for network namespaces and tc (run it with sudo)")
    programs = [name for name in _PROGRAMS if not _has(name)]
    if programs:
        missing.append(f"the programs {', '.join(programs)}")
    libraries = [n for n in _LIBRARIES if importlib.util.find_spec(n) is None]
    if libraries:
        names = ", ".join(libraries)
        missing.append(f"the libraries {names} (pip install 'midhaul[deploy,detect]')")
    return missing, sorted({_PROGRAMS[name] for name in programs})


def _has(program: str) -> bool:
    if program != "mosquitto":  # which is found outside of PATH as well
        return shutil.which(program) is not None
    return bool(shutil.which(program) or shutil.which(program, path=_SEARCHED))


_WITHIN = 0.02  # by how much a share of periods may miss what was promised
_FEW = 2  # periods of a repetition that may be over by chance, where there are few
_LEAVE_CPU = "Leave the machine to this run, or lower requests.rate_per_min."


def judge_run(config: LiveConfig, run: Run) -> Verdict:
    """Hold a run to its limits."""
    findings = [*_ending(config, run), *_machine(config, run), *_queues(config, run)]
    found = Verdict(
        reasons=tuple(reason for reason, _ in findings),
        advice=tuple(advice for _, advice in findings),
    )
    return found + _promises(config, run)


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
        error = 1 - row["pull_bps"] / _pullable_bps(config, row["ack_share"])
        if not error <= limits.max_link_error:
            yield (
                f"Pulls may be {limits.max_link_error:.0%} slower than the downlink "
                f"and their acknowledgements allow, found {error:.0%} {where}.",
                "Lower link.downlink_bps to what this machine can shape and unpack, or "
                "raise images.scale: small layers are slow.",
            )


def _pullable_bps(config: LiveConfig, ack_share: float) -> float:
    """The most that a pull can get: what it acknowledges has to fit the uplink."""
    uplink_bps = network_of(config).uplink_bps
    return min(config.link.downlink_bps, uplink_bps / max(ack_share, 1e-9))


def _promises(config: LiveConfig, run: Run) -> Verdict:
    """What was sent too much, came late or not at all, and was saved less."""
    limits, planning = config.limits, config.planning
    periods = run.read(PERIODS).to_pylist()
    moves = run.read(MOVES).to_pylist()
    status = [row["status"] for row in run.read(MESSAGES).to_pylist()]
    n_sent = len(status) - status.count("not granted")
    few = _FEW / max(1, len(periods) // max(1, config.n_repeats))
    planned = round(column(moves, "planned_saved_bits").sum() / 8)
    saved = round(column(moves, "saved_bits").sum() / 8)
    has_promised = planning.forecast == "conformal"
    return Verdict.of(
        Tally(
            what="rate periods were granted or sent more than the uplink carried",
            n=int(column(periods, "is_overshoot").sum()),
            of=len(periods),
            max_share=min(1.0, planning.max_over_share + max(_WITHIN, few))
            if has_promised
            else 1.0,
            advice="Lower planning.max_over_share or planning.uplink_share, or decide "
            "more often with a shorter rate_period_s.",
        ),
        Tally(
            what="messages that were sent came late or not at all",
            n=status.count("late") + status.count("missing"),
            of=n_sent,
            max_share=limits.max_late_share,
            advice="Keep planning.has_back_pressure, lower planning.max_over_share, or "
            "raise deadline_s.",
        ),
        Tally(
            what="bytes of the saving that moves promised did not come",
            n=max(0, planned - saved),
            of=planned,
            max_share=limits.max_lost_saving,
            advice="Lower planning.pull_share, so that pulls are planned to last "
            "longer.",
        ),
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
