"""What happens when a file of kind deploy.live is run, and whether it is valid.

What a live run needs of the machine is asked for all at once, before it begins; then
libraries are imported.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.live.inputs import network_of
from midhaul.deploy.live.metrics import column
from midhaul.deploy.live.tables import (
    CONFIGURATIONS,
    CURVES,
    LIVE_TABLES,
    MESSAGES,
    MOVES,
    PERIODS,
    REPEATS,
    SUMMARY,
)
from midhaul.errors import PrerequisiteError
from midhaul.machine.coroutines import run_coroutine
from midhaul.model import Tally, Verdict
from midhaul.vision.detectors.detector import stated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.deploy.live.config import LiveConfig
    from midhaul.deploy.live.workload import MeasuredCurves
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_CURVES_FILE = "live/curves.json"
_N_KNOBS = 16


def live(config: LiveConfig, run: Run, progress: Progress) -> None:
    """Plan, pull, move and allocate for real, repetition by repetition.

    A repetition cannot be continued in its middle: a resumed run keeps those that came
    to their end and does the others from their begin. A PrerequisiteError names all
    that is missing: root, programs and libraries.
    """
    check_machine()
    run.tally(*stated(str(config.workload.detector)).tallies)
    finished = _keep_finished(run)
    if finished:
        progress.note(
            f"{len(finished)} of {config.n_repeats} repetitions are kept; a repetition "
            "that was interrupted begins again"
        )
    _write_configuration(config, run)
    curves = _curves(config, run, progress)
    try:
        for repeat in range(config.n_repeats):
            if repeat not in finished:
                _repeat(config, curves, repeat, run, progress)
    finally:
        _sum_up(config, run)


def _repeat(
    config: LiveConfig,
    curves: Mapping[str, MeasuredCurves],
    repeat: int,
    run: Run,
    progress: Progress,
) -> None:
    """Build everything, run one repetition, and remove everything."""
    from midhaul.deploy.enforcement.lab import ADDRESSES, Lab  # noqa: PLC0415
    from midhaul.deploy.live.inputs import network_of  # noqa: PLC0415
    from midhaul.deploy.live.repeat import Place, run_repeat  # noqa: PLC0415
    from midhaul.deploy.live.site import REGISTRY_PORT, scratch  # noqa: PLC0415
    from midhaul.deploy.store.server import RegistryServer  # noqa: PLC0415

    network = network_of(config)
    with scratch() as folder:
        images = _publish(config, repeat, folder / "registry", progress)
        with Lab(
            uplink_bps=network.uplink_bps,
            downlink_bps=network.downlink_bps,
            queue_s=config.link.queue_s,
        ) as lab:
            registry = RegistryServer(
                folder / "registry",
                host=ADDRESSES["cloud"],
                port=REGISTRY_PORT,
                prefix=lab.command("cloud"),
            )
            with registry:
                place = Place(
                    lab=lab,
                    registry=registry,
                    scratch=folder,
                    images=images,
                    curves=curves,
                    network=network,
                )
                run_coroutine(run_repeat(config, place, repeat, run, progress))


def _publish(
    config: LiveConfig, repeat: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Make the images that are asked for, and push them."""
    from midhaul.deploy.live.inputs import images_of, requests_of  # noqa: PLC0415
    from midhaul.deploy.live.pulls import calibration_images  # noqa: PLC0415
    from midhaul.deploy.live.site import publish_images  # noqa: PLC0415

    known = images_of(config)
    asked = {request.image for request in requests_of(config, known, repeat)}
    wanted = {name: image for name, image in known.items() if name in asked}
    scale = config.images.scale
    extra = calibration_images(known.values(), scale)
    made = run_coroutine(
        publish_images(
            wanted | extra, folder, scale=scale, seed=config.seed, progress=progress
        )
    )
    return {name: image for name, image in made.items() if name in wanted}


def _curves(
    config: LiveConfig, run: Run, progress: Progress
) -> dict[str, MeasuredCurves]:
    """The QoS curves: those of the run if it is resumed, or measured now."""
    from midhaul.deploy.live.workload import (  # noqa: PLC0415
        MeasuredCurves,
        measure_curves,
    )

    file = run.file(_CURVES_FILE)
    if file.exists():
        plain = json.loads(file.read_text(encoding="utf-8"))
        found = [MeasuredCurves.of(one) for one in plain]
    else:
        with progress.task("measure QoS curves", _N_KNOBS) as task:
            found = list(measure_curves(config.workload, config.seed, task))
        text = json.dumps([one.plain() for one in found], indent=2)
        run.save(f"files/{_CURVES_FILE}", text + "\n")
    run.write(CURVES, [row for one in found for row in one.rows()], part=0)
    return {one.workload: one for one in found}


def _write_configuration(config: LiveConfig, run: Run) -> None:
    from midhaul.deploy.live.inputs import policy_name, settings_of  # noqa: PLC0415

    row = {
        "configuration": 0,
        "name": policy_name(config),
        "settings": settings_of(config),
    }
    run.write(CONFIGURATIONS, [row], part=0)


def _keep_finished(run: Run) -> set[int]:
    """Numbers of the repetitions that came to their end; rows of others are dropped.

    Part by part, so that a kill meanwhile costs nothing that is to be kept.
    """
    finished = {int(row["repeat"]) for row in run.read(REPEATS).to_pylist()}
    for table in LIVE_TABLES:
        if "repeat" not in table.schema.names:
            continue
        for part in run.parts(table.name):  # written by one repetition each
            rows = run.read(table, part)["repeat"].to_pylist()
            if not finished.issuperset(rows):
                run.drop(table.name, [part])
    return finished


def _sum_up(config: LiveConfig, run: Run) -> None:
    """Write the summary and the verdict of what there is."""
    from midhaul.deploy.live.metrics import summary_of  # noqa: PLC0415

    rows = summary_of(run, config.seed)
    if rows:
        run.write(SUMMARY, rows, part=0)
        run.verdict = judge_run(config, run)


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
    """Refuse where no live run can be: a PrerequisiteError that names all of it."""
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
