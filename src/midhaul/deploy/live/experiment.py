"""What happens when a file of kind deploy.live is run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from midhaul.deploy.live.tables import (
    CONFIGURATIONS,
    CURVES,
    LIVE_TABLES,
    REPEATS,
    SUMMARY,
)
from midhaul.deploy.live.validity import check_machine
from midhaul.machine.coroutines import run_coroutine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midhaul.deploy.live.config import LiveConfig
    from midhaul.deploy.live.curves import MeasuredCurves
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_CURVES_FILE = "live/curves.json"
_N_KNOBS = 16


def live(config: LiveConfig, run: Run, progress: Progress) -> None:
    """Plan, pull, move and allocate for real, repetition by repetition.

    A repetition cannot be continued in its middle: a resumed run keeps those that came
    to their end and does the others from their begin.

    Args:
        config: the experiment.
        run: the run to fill, new or resumed.
        progress: where to tell how far it is.

    Raises:
        PrerequisiteError: root, a program or a library is missing; all are named.
        MidhaulError: an input cannot be read, or a process does not live.
    """
    check_machine()
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
    from midhaul.deploy.live.calibration import calibration_images  # noqa: PLC0415
    from midhaul.deploy.live.inputs import images_of, requests_of  # noqa: PLC0415
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
    from midhaul.deploy.live.curves import (  # noqa: PLC0415
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
    from midhaul.deploy.live.validity import judge_run  # noqa: PLC0415

    rows = summary_of(run, config.seed)
    if rows:
        run.write(SUMMARY, rows, part=0)
        run.verdict = judge_run(config, run)
