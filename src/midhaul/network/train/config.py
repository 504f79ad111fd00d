"""Config of network.train: how many scenarios, how large, and how nets are fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from midhaul.network.corrector.drawn_transports import ScenarioAmount
from midhaul.runs.config import Config, Section, setting


class AmountConfig(Section):
    """How large scenarios are."""

    fewest: int = setting(800, "Flows at least.", ge=50)
    most: int = setting(8000, "Flows at most.", ge=50)
    rdma_hops: float = setting(
        2e6,
        "Packets times links that one of RDMA may have, if it has more flows.",
        gt=0,
    )
    tcp_hops: float = setting(0.8e6, "The same of TCP, which costs more.", gt=0)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.fewest > self.most:
            message = f"fewest is at most most, found {self.fewest} above {self.most}"
            raise ValueError(message)
        return self

    def amount(self) -> ScenarioAmount:
        """The same as a value."""
        return ScenarioAmount(
            fewest=self.fewest,
            most=self.most,
            rdma_hops=self.rdma_hops,
            tcp_hops=self.tcp_hops,
        )


class JudgedAmountConfig(AmountConfig):
    """How large scenarios of the test are."""

    fewest: int = setting(20_000, "Flows at least.", ge=50)
    most: int = setting(20_000, "Flows at most.", ge=50)


class FittingConfig(Section):
    """How nets are fitted."""

    n_nets: int = setting(3, "Nets that are averaged.", ge=1, le=20)
    n_epochs: int = setting(30, "Passes over all rows.", ge=1)
    width: int = setting(256, "Width of the layers of rows.", ge=8)
    hop_width: int = setting(64, "Width of the layers of links.", ge=4)
    rate: float = setting(2e-3, "Learning rate at the beginning.", gt=0, le=0.1)


class NetworkTrainConfig(Config):
    """Scenarios simulated packet by packet, and a corrector that learns from them."""

    kind: str = setting("network.train", "Kind of the experiment.")
    n_scenarios: int = setting(20_000, "Scenarios to learn from.", ge=20)
    n_tests: int = setting(500, "Scenarios that nothing learns from.", ge=5)
    amount: AmountConfig = setting(AmountConfig, "How large scenarios are.")
    test_amount: JudgedAmountConfig = setting(
        JudgedAmountConfig, "How large those of the test are."
    )
    windows: float = setting(
        0.2,
        "Share of the flows of a scenario of the test that windows of packets hold, "
        "which are judged beside the corrector; 0: there are none.",
        ge=0,
        le=1,
    )
    truth: tuple[Path, ...] = setting(
        (), "Folders with parts of truth of other runs, to learn from besides."
    )
    calibration_share: float = setting(
        0.1,
        "Share of scenarios that intervals are made of, and nets not.",
        gt=0,
        lt=0.5,
    )
    holds_out: bool = setting(
        False,
        "Whether nets learn from no scenario of the groups that tests judge apart.",
    )
    fitting: FittingConfig = setting(FittingConfig, "How nets are fitted.")
    curve: tuple[int, ...] = setting(
        (), "Numbers of scenarios at which a net is fitted for the learning curve."
    )
    jobs: int = setting(1, "Processes that simulate, 0: one per core.", ge=0)
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
    )
