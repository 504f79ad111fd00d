"""Config of the kinds of the area network: a topology, flows, transports, queues.

Its tables come first. network.compare has the same ones and a grid besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.errors import suggestion
from midhaul.model import LinkQueue
from midhaul.network.decomposition.hybrid import WINDOW_SHARE
from midhaul.network.decomposition.pooling import N_PATHS
from midhaul.network.problem import MOST_S
from midhaul.network.simulate.shapes import RUN, RUN_CABLES, SHAPES, ShapeName
from midhaul.network.simulators import AUTO, SimulatorName, TransportName
from midhaul.network.transports import RdmaTransport, TcpTransport
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.section import section


class CableConfig(Section):
    """What joins two nodes: one link each way. What is not said is as usual."""

    name: str = setting(
        ...,
        "Which of the shape's cables it is: an argument of its builder; several of one "
        "name are taken in turn.",
    )
    rate_bps: float | None = setting(
        None, "Bits per second, from the host's side upwards.", gt=0
    )
    delay_s: float | None = setting(None, "Propagation delay of one way.", ge=0)
    back_rate_bps: float | None = setting(
        None, "Bits per second the other way; as many by default.", gt=0
    )
    loss_share: float | None = setting(
        None, "Share of packets that are lost on either link by chance.", ge=0, lt=1
    )
    jitter_s: float | None = setting(
        None, "Most by which chance adds to the delay of either.", ge=0
    )


class TopologyConfig(Section):
    """The nodes and the links between them."""

    kind: ShapeName = setting(
        "edge-to-cloud",
        "A shape; file: JSON, GraphML or Repetita's text, by the file's ending; run: "
        "the links of a run of testbed.measure, or the gateways of one of deploy.plan.",
    )
    file: Path | None = setting(
        None, "A .json, .graphml or .graph file (file), or the folder of a run (run)."
    )
    counts: dict[str, int] = setting(
        dict, "How many of what the shape has, by the arguments of its builder."
    )
    oversubscription: float | None = setting(
        None, "What leaves may send over what spines carry (clos).", gt=0
    )
    cables: tuple[CableConfig, ...] = setting((), "Cables other than the usual ones.")

    @model_validator(mode="after")
    def _shape_has_them(self) -> Self:
        if self.kind not in SHAPES and self.file is None:
            message = f"a topology of kind {self.kind} needs the key file"
            raise ValueError(message)
        shape = SHAPES.get(self.kind)
        cables = RUN_CABLES if self.kind == RUN else ()
        if self.oversubscription and not (shape and shape.has_oversubscription):
            message = f"{self.kind} cannot be told an oversubscription"
            raise ValueError(message)
        for what, named, known in (
            ("count", self.counts, shape.counts if shape else ()),
            (
                "cable",
                [cable.name for cable in self.cables],
                shape.cables if shape else cables,
            ),
        ):
            for name in named:
                if name not in known:
                    near = suggestion(name, known)
                    there = ", ".join(known) or "none"
                    message = f"{self.kind} has no {what} {name!r}{near} ({there})"
                    raise ValueError(message)
        return self


class LinkQueueConfig(section(LinkQueue)):
    """What waits for some of the links."""

    links: str = setting(
        "*", "Pattern of the names SOURCE->TARGET of the links that have it."
    )


class RoutingConfig(Section):
    """Which links each flow takes."""

    kind: Literal["ecmp", "k_paths"] = setting(
        "ecmp",
        "ecmp: one of the shortest ways by a hash; k_paths: one of the k shortest.",
    )
    weights: Literal["hops", "delay", "rate", "file"] = setting(
        "hops",
        "What is short: few links, little delay, fast links, or what the file of the "
        "topology says.",
    )
    k: int = setting(4, "Ways between two nodes (k_paths).", ge=1)


class SizesConfig(Section):
    """How large flows are."""

    kind: Literal[
        "fixed",
        "exponential",
        "lognormal",
        "pareto",
        "gaussian",
        "webserver",
        "cachefollower",
        "hadoop",
        "websearch",
        "file",
    ] = setting("lognormal", "A law, a published distribution, or a CDF in a file.")
    mean_bytes: float | None = setting(
        None, "Mean size; 100 kB, or what is published, by default.", gt=0
    )
    sigma: float = setting(1.0, "Deviation of the logarithm (lognormal).", gt=0)
    shape: float = setting(1.5, "Power by which the tail falls (pareto).", gt=1)
    deviation_bytes: float = setting(0.0, "Standard deviation (gaussian).", ge=0)
    file: Path | None = setting(
        None, "Sizes in bytes and shares up to them, a pair in each line (file)."
    )

    @model_validator(mode="after")
    def _file_is_named(self) -> Self:
        if self.kind == "file" and self.file is None:
            message = "sizes of kind file need the key file"
            raise ValueError(message)
        return self


class FlowArrivalsConfig(Section):
    """When flows start."""

    kind: Literal["poisson", "lognormal", "on-off", "trace"] = setting(
        "poisson",
        "poisson: independent of each other; lognormal: in bursts; on-off: at times; "
        "trace: as in a file, stretched to the time in which flows start.",
    )
    sigma: float = setting(1.0, "How bursty (lognormal).", gt=0)
    on_s: float = setting(1.0, "Mean time that is on (on-off).", gt=0)
    off_s: float = setting(1.0, "Mean time that is off (on-off).", gt=0)
    file: Path | None = setting(None, "Parquet or CSV with a column start_s (trace).")

    @model_validator(mode="after")
    def _file_is_named(self) -> Self:
        if self.kind == "trace" and self.file is None:
            message = "arrivals of kind trace need the key file"
            raise ValueError(message)
        return self


class FlowsConfig(Section):
    """Flows of one class."""

    name: str = setting("flows", "Name of the class.", min_length=1)
    kind: Literal[
        "drawn",
        "file",
        "run",
        "cameras",
        "pulls",
        "incast",
        "all-reduce",
        "all-to-all",
    ] = setting(
        "drawn",
        "drawn: by laws; file: Parquet or CSV; run: what a plan of deploy.plan uploads "
        "and pulls; cameras: frames from each source; pulls: layers of a container "
        "image to each target; the others: steps that wait for each other.",
    )
    file: Path | None = setting(
        None,
        "source, target, size_bytes, start_s or start_ns of each flow (file), or the "
        "folder of a run (run).",
    )
    configuration: str = setting(
        "", "Which plan of the run, by its configuration; the first by default (run)."
    )
    sources: str = setting("*", "Pattern of the hosts that send.")
    targets: str = setting(
        "*", "Pattern of the hosts that receive; one host for cameras and incast."
    )
    matrix: Path | None = setting(
        None, "Weights between racks, JSON, instead of sources and targets (drawn)."
    )
    transport: str = setting("", "Name of their transport; the first by default.")
    sizes: SizesConfig = setting(SizesConfig, "How large they are (drawn, cameras).")
    arrivals: FlowArrivalsConfig = setting(
        FlowArrivalsConfig, "When they start (drawn)."
    )
    load: float | None = setting(
        None, "Load of the busiest link by this class alone (drawn).", gt=0, le=100
    )
    rate_hz: float | None = setting(
        None,
        "Flows in a second, instead of a load (drawn); frames of each camera; messages "
        "of an analytic whose curve says none, 1 by default (run).",
        gt=0,
    )
    duration_s: float | None = setting(
        None,
        "Time in which flows start, instead of n_flows; the plan's slot by default "
        "(run).",
        gt=0,
        le=MOST_S,
    )
    n_flows: int | None = setting(
        None, "How many (drawn), or rounds (incast, all-reduce).", ge=1
    )
    n_cameras: int = setting(1, "Cameras at each source (cameras).", ge=1)
    jitter_s: float = setting(
        0.0, "Most by which chance delays a frame (cameras).", ge=0, le=MOST_S
    )
    layers_bytes: tuple[int, ...] = setting(
        (60_000_000, 25_000_000, 5_000_000),
        "Compressed bytes of the layers of the image (pulls).",
        min_length=1,
    )
    n_parallel: int = setting(3, "Layers fetched at a time (pulls, run).", ge=1)
    size_bytes: int = setting(
        1_000_000, "What each node has (incast, all-reduce, all-to-all).", ge=1
    )
    gap_s: float = setting(
        0.0, "Time between rounds (incast, all-reduce).", ge=0, le=MOST_S
    )
    begins_s: float = setting(0.0, "When the first may start.", ge=0, le=MOST_S)

    @model_validator(mode="after")
    def _amount_is_said(self) -> Self:
        if self.kind in {"file", "run"} and self.file is None:
            message = f"flows {self.name!r} of kind {self.kind} need the key file"
            raise ValueError(message)
        if self.kind != "drawn":
            return self
        if self.load is not None and self.rate_hz is not None:
            message = f"flows {self.name!r}: load or rate_hz, not both"
            raise ValueError(message)
        return self


class TcpConfig(section(TcpTransport, without=("congestion",))):
    """A TCP sender and its receiver."""


class RdmaConfig(section(RdmaTransport, without=("congestion",))):
    """An RDMA sender and its receiver."""


class TransportConfig(Section):
    """How senders decide how fast they send."""

    name: str = setting("", "What flows call it; that of its kind by default.")
    kind: TransportName = setting(
        "cubic", "newreno, linux-reno, cubic, bbr, tcp-dctcp, or one of RDMA cards."
    )
    tcp: TcpConfig = setting(TcpConfig, "Settings of one of TCP.")
    rdma: RdmaConfig = setting(RdmaConfig, "Settings of one of RDMA cards.")

    @property
    def label(self) -> str:
        """What tables and charts call it."""
        return self.name or self.kind


_FLOWS = (FlowsConfig(name="uploads", sources="gateway*", targets="cloud", load=0.5),)


class ScenarioConfig(Config):
    """What flows through which network, and how it is simulated."""

    simulator: SimulatorName = setting(
        "packet",
        "packet: every packet; fluid: max-min rates; links: link by link; paths: some "
        "paths, pooled; hybrid: some windows of time, and fluid; ns3, kernel: outside "
        "judges; auto: the most exact one that fits budget_s.",
    )
    budget_s: float | None = setting(
        None,
        "Time that all simulations together may take on this machine (auto).",
        gt=0,
    )
    n_paths: int = setting(
        N_PATHS, "Paths that are drawn by the flows on them (paths).", ge=1
    )
    share: float = setting(
        WINDOW_SHARE,
        "Share of the flows that start in windows of packets, 10,000 at least "
        "(hybrid).",
        gt=0,
        le=1,
    )
    topology: TopologyConfig = setting(TopologyConfig, "The network.")
    queues: tuple[LinkQueueConfig, ...] = setting(
        (), "Queues other than those of the shape; of several that fit, the last."
    )
    routing: RoutingConfig = setting(RoutingConfig, "Which links flows take.")
    flows: tuple[FlowsConfig, ...] = setting(
        _FLOWS, "What is sent, class by class.", min_length=1
    )
    transports: tuple[TransportConfig, ...] = setting(
        (TransportConfig(),), "How senders decide.", min_length=1
    )
    switch_buffer_bytes: int = setting(
        0,
        "Memory of each switch that its ports share (RDMA); 0: as much as is needed.",
        ge=0,
    )
    until_s: float | None = setting(
        None, "When to stop; when every flow has ended by default.", gt=0, le=MOST_S
    )
    watched: tuple[int, ...] = setting(
        (), "Numbers of flows whose window and rate are kept over time."
    )
    n_watched: int = setting(
        4, "Further flows that are watched, from small to large ones.", ge=0
    )
    sample_s: float | None = setting(
        None,
        "How often queues are looked at; 0: never; by default 500 times while flows "
        "start.",
        ge=0,
        le=MOST_S,
    )
    max_unfinished_share: float = setting(
        0.01,
        "Share of judged flows that may not have ended; above it the run is not valid.",
        ge=0,
        le=1,
    )
    keep_every_s: float = setting(
        10.0,
        "How often at most the state is kept, from which a run that was killed goes "
        "on.",
        gt=0,
    )
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
    )

    @model_validator(mode="after")
    def _budget_is_said(self) -> Self:
        if (self.simulator == AUTO) != (self.budget_s is not None):
            message = f"budget_s is what simulator {AUTO!r} needs, and no other has"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for what, names in (
            ("transports", [one.label for one in self.transports]),
            ("flows", [one.name for one in self.flows]),
        ):
            if len(set(names)) < len(names):
                message = f"names of {what} must be unique, found {', '.join(names)}"
                raise ValueError(message)
        known = [one.label for one in self.transports]
        for flows in self.flows:
            if flows.transport and flows.transport not in known:
                near = suggestion(flows.transport, known)
                message = (
                    f"flows {flows.name!r} have the transport {flows.transport!r}, "
                    f"which is none of {', '.join(known)}{near}"
                )
                raise ValueError(message)
        return self


class NetworkSimulateConfig(ScenarioConfig):
    """Flows through one network, simulated: completion times, queues, loads."""

    kind: str = setting("network.simulate", "Kind of the experiment.")
