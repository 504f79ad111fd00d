"""Who is compared: every policy, at every budget that it is asked to keep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midhaul.federation.policies.catalogue import entry_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.bundle import Bundle
    from midhaul.federation.config import EvaluateConfig
    from midhaul.federation.problem import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A policy at one budget.

    Attributes:
        number: of the configuration, from 0.
        name: as tables and charts show it.
        policy: its name in the catalogue; empty for one that was trained before.
        provider: the only provider it asks; -1 where it asks several.
        share: its budget over the price of all; None where it keeps none.
        budget_usd: its budget for an item; None where it keeps none.
        trained: number of the trained federation; -1 where it is learned here.
    """

    number: int
    name: str
    policy: str
    provider: int = -1
    share: float | None = None
    budget_usd: float | None = None
    trained: int = -1

    @property
    def family(self) -> str:
        """What configurations that differ by their budget have in common."""
        return self.policy if self.share is not None else self.name

    def row(self) -> dict[str, object]:
        """Its row in the table of configurations."""
        return {
            "configuration": self.number,
            "name": self.name,
            "policy": self.family,
            "budget_share": self.share,
            "budget_usd": self.budget_usd,
            "settings": json.dumps({"provider": self.provider})
            if self.provider >= 0
            else "{}",
        }


def line_up(
    config: EvaluateConfig, recording: Recording, trained: Sequence[Bundle]
) -> tuple[Contender, ...]:
    """All contenders, numbered in the order of the config.

    Args:
        config: names and budgets.
        recording: providers and prices.
        trained: federations that were trained before.

    Raises:
        ConfigError: there is no such policy.
    """
    price_usd = float(recording.prices_usd.sum())
    found: list[Contender] = []

    def add(name: str, policy: str, **more: float | None) -> None:
        found.append(
            Contender(number=len(found), name=name, policy=policy, **more)  # pyright: ignore[reportArgumentType]
        )

    for name in config.policies:
        if name == "single":
            for p, provider in enumerate(recording.providers):
                add(provider, name, provider=p)
        elif _has_budgets(name):
            for share in config.budget_shares:
                title = f"{name} {share * 100:g} %"
                add(title, name, share=share, budget_usd=share * price_usd)
        else:
            add(name, name)
    for number, bundle in enumerate(trained):
        add(f"trained {number + 1}: {bundle.policy.name}", "", trained=number)
    return tuple(found)


def _has_budgets(name: str) -> bool:
    """Whether a policy is brought to budgets; a bound is not."""
    entry = entry_named(name)
    return entry.is_family and not entry.knows_truth
