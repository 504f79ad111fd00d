"""The experiment files of the testbed: every key, its type, default and meaning."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from midhaul.runs.config import Config, Spec
from midhaul.testbed.config_parts import (
    CostConfig,
    DataConfig,
    Encode,
    GridValue,
    JudgeConfig,
    LinkConfig,
    LoadConfig,
    NodeConfig,
    Resize,
)


class AccuracyConfig(Config):
    """Detectors by preprocessing over a data set: accuracy and bytes, no nodes."""

    kind: str = Field(default="testbed.accuracy", description="Kind of the experiment.")
    data: DataConfig = Field(
        default_factory=DataConfig, description="Images and their ground truth."
    )
    detectors: tuple[Spec, ...] = Field(
        default=(Spec("builtin:street-n"), Spec("builtin:street-s")),
        min_length=1,
        description="Detectors to compare.",
    )
    encode: tuple[Encode, ...] = Field(
        default=("keep",), min_length=1, description="Encodings to compare."
    )
    resize: tuple[Resize, ...] = Field(
        default=(1.0,), min_length=1, description="Sizes to compare."
    )
    gray: tuple[bool, ...] = Field(
        default=(False,), min_length=1, description="With colour, without, or both."
    )
    judge: JudgeConfig = Field(
        default_factory=JudgeConfig, description="How answers are judged."
    )
    jobs: int = Field(
        default=0, ge=0, description="Processes to use; 0 for one per core."
    )


class TestbedConfig(Config):
    """What every experiment on running nodes shares."""

    __test__ = False  # the name is no test's

    data: DataConfig = Field(
        default_factory=DataConfig, description="Images and their ground truth."
    )
    nodes: tuple[NodeConfig, ...] = Field(
        default=(
            NodeConfig(name="cloud", role="cloud", detector=Spec("builtin:street-m")),
            NodeConfig(name="edge1", role="edge", cloud="cloud", forward="image"),
            NodeConfig(name="edge2", role="edge", cloud="cloud", forward="image"),
        ),
        min_length=1,
        description="The nodes, at least one edge.",
    )
    links: tuple[LinkConfig, ...] = Field(default=(), description="The shaped links.")
    load: LoadConfig = Field(
        default_factory=LoadConfig, description="What the workload sends, and when."
    )
    n_blocks: int = Field(
        default=3, ge=1, description="Most blocks that are spent on latency."
    )
    precision: str = Field(
        default="5%",
        pattern=r"^[0-9]+(\.[0-9]+)?%$",
        description="From the third on, blocks end when half the interval of every "
        "median latency is below this share of it and load.percentile has its "
        "requests.",
    )
    cost: CostConfig = Field(
        default_factory=CostConfig, description="Coefficients of the cost models."
    )
    judge: JudgeConfig = Field(
        default_factory=JudgeConfig, description="How answers are judged."
    )
    jobs: int = Field(
        default=0, ge=0, description="Processes that judge accuracy; 0 for all cores."
    )

    @model_validator(mode="after")
    def _topology_holds(self) -> Self:
        names = [node.name for node in self.nodes]
        if len(set(names)) < len(names) or "workload" in names:
            message = f"node names must be unique and not 'workload': {names}"
            raise ValueError(message)
        clouds = {node.name for node in self.nodes if node.role == "cloud"}
        for node in self.nodes:
            if node.cloud is not None and node.cloud not in clouds:
                message = f"{node.name} forwards to {node.cloud}, which is no cloud"
                raise ValueError(message)
        if clouds == set(names):
            message = "the testbed needs at least one node with role = 'edge'"
            raise ValueError(message)
        roads = {(n.name, n.cloud) for n in self.nodes if n.cloud is not None}
        roads |= {("workload", n.name) for n in self.nodes if n.role == "edge"}
        for link in self.links:
            if (link.source, link.target) not in roads:
                known = ", ".join(sorted(f"{a}->{b}" for a, b in roads))
                message = (
                    f"no traffic goes {link.source}->{link.target}; there is {known}"
                )
                raise ValueError(message)
        return self


class MeasureConfig(TestbedConfig):
    """The running testbed: accuracy, latency, bytes and cost of every configuration."""

    kind: str = Field(default="testbed.measure", description="Kind of the experiment.")
    grid: dict[str, tuple[GridValue, ...]] = Field(
        default_factory=dict,
        description="Settings to vary, all combinations: ROLE.KEY or NODE.KEY of a "
        "node, or load.KEY, each with its values.",
    )


class OverheadConfig(TestbedConfig):
    """What midhaul itself costs: the testbed with detectors that do nothing."""

    kind: str = Field(default="testbed.overhead", description="Kind of the experiment.")
    nodes: tuple[NodeConfig, ...] = Field(
        default=(
            NodeConfig(name="cloud", role="cloud", detector=Spec("null")),
            NodeConfig(name="edge1", role="edge", cloud="cloud", detector=Spec("null")),
        ),
        min_length=1,
        description="The nodes; every detector is replaced by null.",
    )
    n_blocks: int = Field(default=5, ge=1, description="Blocks to measure.")
