"""Policies on the test items while one provider fails in one way after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.federation.policies.fixed import best_single
from midhaul.federation.serving.fault_plan import standard_phases
from midhaul.federation.serving.replay import ReplaySettings, replay_under_faults
from midhaul.federation.serving.replay_rows import (
    qualities_of,
    request_rows,
    summary_rows,
)
from midhaul.federation.serving.tables import (
    FAULT_PHASES,
    FAULT_REQUESTS,
    FAULT_SUMMARY,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.federation.config_parts import FaultsConfig
    from midhaul.federation.fusion.base import Fuser
    from midhaul.federation.policies.base import SubsetPolicy
    from midhaul.federation.preparing import TestPart
    from midhaul.runs.progress import Progress
    from midhaul.runs.run import Run

_DEARER = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A policy that is served during the faults.

    Attributes:
        name: of its configuration.
        policy: who is asked.
    """

    name: str
    policy: SubsetPolicy


def write_faults(
    run: Run,
    part: TestPart,
    fuser: Fuser,
    policies: Mapping[int, Served],
    config: FaultsConfig,
    seed: int,
    progress: Progress,
) -> None:
    """Serve each policy under the same faults of the provider that is best alone.

    Args:
        run: the run to fill.
        part: the test items.
        fuser: what fuses answers.
        policies: by the number of their configuration.
        config: how long, and how many requests.
        seed: of arrivals and faults.
        progress: where to tell how far it is.
    """
    recording = part.recording
    victim = best_single(recording, fuser)
    price_usd = float(recording.prices_usd[victim]) * _DEARER
    phases = standard_phases(
        recording.providers[victim], phase_s=config.phase_s, price_usd=price_usd
    )
    rows = [row for phase in phases for row in phase.rows()]
    run.write(FAULT_PHASES, rows, part=0)
    settings = ReplaySettings(rate_hz=config.rate_hz, seed=seed)
    with progress.task("serving under faults", total=len(policies)) as task:
        for number, one in policies.items():
            done = replay_under_faults(
                one.policy, recording, part.features, fuser, phases, settings
            )
            qualities = qualities_of(done, recording)
            named = {"policy": one.name}
            requests = request_rows(done, recording, phases, qualities)
            run.write(FAULT_REQUESTS, [{**r, **named} for r in requests], part=number)
            sums = summary_rows(done, phases, qualities)
            run.write(FAULT_SUMMARY, [{**r, **named} for r in sums], part=number)
            task.advance()
