"""Who is compared: every policy, at every budget that it is asked to keep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from midhaul.errors import ConfigError
from midhaul.federation.policies.catalogue import entry_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midhaul.federation.bundle import Bundle
    from midhaul.federation.config import EvaluateConfig
    from midhaul.federation.problem import Recording

LearnedAs = tuple[str, int, float | None]
"""What contenders that are learned as one have in common."""


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

    @property
    def settings(self) -> dict[str, Any]:
        """What its policy is told when it is learned."""
        known = entry_named(self.policy).settings
        told = {"budget_usd": self.budget_usd, "provider": self.provider}
        return {key: value for key, value in told.items() if key in known}

    @property
    def learned_as(self) -> LearnedAs:
        """The same for those that one learning is enough for."""
        budget_usd = self.settings.get("budget_usd") if self.policy else None
        return self.policy, self.provider, budget_usd

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
        ConfigError: there is no such policy, or it has to be told whom to ask.
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
    """Whether a policy is brought to budgets; a bound is not.

    Raises:
        ConfigError: it is told whom to ask, which a list of names does not.
    """
    entry = entry_named(name)
    if "providers" in entry.settings:
        message = f"policy {name!r} has to be told whom to ask"
        hint = "train it with federation.train and its key providers, and name the "
        raise ConfigError(message, hint + "file in trained")
    has_budget = entry.is_family or "budget_usd" in entry.settings
    return has_budget and not entry.knows_truth
