"""What goes wrong when, in a replay: phases with faults and prices."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from midhaul.federation.providers.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A time in which the same things go wrong.

    Attributes:
        name: as tables and charts show it.
        begins_s: of the replay's clock.
        ends_s: of the same; the next phase begins here.
        faults: by name of the provider; their own times are of no account.
        prices_usd: prices from here on, by name of the provider.
    """

    name: str
    begins_s: float
    ends_s: float
    faults: Mapping[str, Fault] = field(default_factory=dict[str, Fault])
    prices_usd: Mapping[str, float] = field(default_factory=dict[str, float])

    def rows(self) -> list[dict[str, object]]:
        """The phase, as the table ``fault_phases`` has it."""
        same: dict[str, object] = {
            "phase": self.name,
            "begins_s": self.begins_s,
            "ends_s": self.ends_s,
        }
        rows: list[dict[str, object]] = [
            {**same, "provider": name, "fault": fault.kind, "share": fault.share}
            for name, fault in self.faults.items()
        ]
        rows += [
            {**same, "provider": name, "fault": "price", "price_usd": usd}
            for name, usd in self.prices_usd.items()
        ]
        return rows or [{**same, "provider": "", "fault": ""}]


def faults_of(phases: Sequence[Phase], provider: str) -> tuple[Fault, ...]:
    """All faults of one provider, each with the times of its phase."""
    return tuple(
        replace(fault, begins_s=phase.begins_s, ends_s=phase.ends_s)
        for phase in phases
        for name, fault in phase.faults.items()
        if name == provider
    )


def standard_phases(
    victim: str, *, phase_s: float, price_usd: float
) -> tuple[Phase, ...]:
    """One thing after another happens to one provider, with rests between.

    Args:
        victim: name of the provider.
        phase_s: length of each phase.
        price_usd: its new price in the last phase but one; it gets its old one back.
    """
    plan: tuple[tuple[str, Fault | None], ...] = (
        ("healthy", None),
        ("time-outs", Fault(kind="timeout", share=0.5)),
        ("rest 1", None),
        ("HTTP 429", Fault(kind="throttled", share=0.5, retry_after_s=1.0)),
        ("rest 2", None),
        ("outage", Fault(kind="unavailable")),
        ("rest 3", None),
        ("slow", Fault(kind="slow", factor=5.0)),
        ("silently worse", Fault(kind="degraded", drop=0.5, swap=0.5, jitter=0.2)),
    )
    phases = [
        Phase(
            name=name,
            begins_s=i * phase_s,
            ends_s=(i + 1) * phase_s,
            faults={} if fault is None else {victim: fault},
        )
        for i, (name, fault) in enumerate(plan)
    ]
    end_s = len(plan) * phase_s
    phases.append(
        Phase(
            name="dearer",
            begins_s=end_s,
            ends_s=end_s + phase_s,
            prices_usd={victim: price_usd},
        )
    )
    return tuple(phases)
