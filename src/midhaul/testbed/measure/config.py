"""Config of the testbed's kinds: every key, its type, default and meaning.

The tables that they share come first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from midhaul.runs.config import Config, Section
from midhaul.runs.section import key
from midhaul.runs.spec import Spec
from midhaul.testbed.nodes.settings import Forward, NodeSettings
from midhaul.vision.data.dataset import DatasetKind
from midhaul.vision.data.faults import OnBadItem
from midhaul.wire.limits import ServerLimits

Encode = Annotated[
    str, Field(pattern=r"^(keep|(jpeg|webp):([1-9][0-9]?|100))$", examples=["jpeg:75"])
]
Resize = Annotated[float, Field(gt=0, le=1)]
Iou = Annotated[float, Field(gt=0, le=1)]
Area = Annotated[float, Field(ge=0)]
Scenario = Literal["single stream", "multi stream", "server", "offline", "bursts"]
ArrivalKind = Literal["constant", "poisson", "gamma", "file"]
GridValue = Spec | bool | int | float


class DataConfig(Section):
    """Images and their ground truth."""

    kind: DatasetKind = Field(default="builtin", description="Format of the data set.")
    images: Path | None = Field(
        default=None,
        description="Folder of the images (coco, yolo, voc), or the data.yaml of "
        "Ultralytics (yolo).",
    )
    annotations: Path | None = Field(
        default=None,
        description="COCO JSON file, or folder of YOLO labels or VOC XML files; those "
        "are found beside the images where it is not given.",
    )
    names: tuple[str, ...] = Field(
        default=(),
        description="Labels of a YOLO folder, in the order of their numbers.",
    )
    select: Path | None = Field(
        default=None,
        description="File with one image name a line, to use only those (yolo, voc).",
    )
    on_size_mismatch: Literal["error", "rescale"] = Field(
        default="error",
        description="What becomes of images that have the shape that their annotations "
        "say and another size: an error, or boxes are rescaled and counted (coco, "
        "voc).",
    )
    on_bad_item: OnBadItem = Field(
        default="error",
        description="What becomes of images with a mistake in their file or labels: "
        "error ends the run and names them, skip leaves them out and counts them.",
    )
    voc_origin: Literal[0, 1] = Field(
        default=1,
        description="Number of the first pixel of a row in VOC's files: 1 as the VOC "
        "devkit has it, 0 for tools that count from 0.",
    )
    n_images: int = Field(
        default=0, ge=0, description="Images to use, drawn with the seed; 0 for all."
    )
    n_scenes: int = Field(
        default=64, ge=1, description="Scenes to generate (builtin only)."
    )

    @model_validator(mode="after")
    def _folders_are_given(self) -> Self:
        if self.kind != "builtin" and self.images is None:
            message = f"data of kind {self.kind} needs images"
            raise ValueError(message)
        if self.kind == "coco" and self.annotations is None:
            message = "data of kind coco needs annotations"
            raise ValueError(message)
        return self


class NodeConfig(Section):
    """One node: an HTTP server in a process of its own."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="Unique name.")
    role: Literal["edge", "cloud"] = Field(description="Where it stands.")
    cloud: str | None = Field(
        default=None, description="The cloud that an edge forwards to."
    )
    detector: Spec = Field(
        default=Spec(""),
        description="What it runs, e.g. builtin:street-s or onnx:model.onnx; empty for "
        "nothing.",
    )
    gray: bool = Field(default=False, description="Reduce images to one channel.")
    resize: Resize = Field(default=1.0, description="Factor on width and height.")
    encode: Encode = Field(
        default="keep", description="keep, jpeg:QUALITY or webp:QUALITY."
    )
    forward: Forward = key(NodeSettings, "forward")
    forward_below: float = key(NodeSettings, "forward_below")
    max_head_bytes: int = key(ServerLimits, "max_head_bytes")
    max_url_bytes: int = key(ServerLimits, "max_url_bytes")
    head_timeout_s: float = key(ServerLimits, "head_timeout_s")
    max_flight_bytes: int = key(ServerLimits, "max_flight_bytes")
    max_connections: int = key(ServerLimits, "max_connections")
    answer_timeout_s: float = key(ServerLimits, "answer_timeout_s")
    max_pixels: int = key(NodeSettings, "max_pixels")
    max_scans: int = key(NodeSettings, "max_scans")
    max_decode_s: float = key(NodeSettings, "max_decode_s")
    threads: int = key(NodeSettings, "threads")
    workers: int = key(NodeSettings, "workers")
    cpu_limit: float | None = key(NodeSettings, "cpu_limit")
    memory_limit_bytes: int | None = key(NodeSettings, "memory_limit_bytes")
    monitor_period_s: float = key(NodeSettings, "monitor_period_s")
    workdir: Path | None = Field(
        default=None, description="Working directory; the run's folder by default."
    )
    port: int = key(NodeSettings, "port")

    @model_validator(mode="after")
    def _role_fits(self) -> Self:
        if self.role == "cloud" and self.cloud is not None:
            message = f"{self.name} is a cloud: it forwards to nobody, drop its 'cloud'"
            raise ValueError(message)
        if self.role == "cloud" and self.forward != "nothing":
            message = f"{self.name} is a cloud: it forwards to nobody, drop 'forward'"
            raise ValueError(message)
        if self.forward != "nothing" and self.cloud is None:
            message = f"{self.name} forwards {self.forward} but names no cloud"
            raise ValueError(message)
        if self.forward in {"results", "uncertain"} and not self.detector:
            message = f"{self.name} forwards {self.forward} but runs no detector"
            raise ValueError(message)
        return self


class LinkConfig(Section):
    """A shaped link; without one, two nodes talk over bare loopback."""

    source: str = Field(description="Sending node, or workload.")
    target: str = Field(description="Receiving node.")
    rate_bps: float | None = Field(
        default=None,
        gt=0,
        description="Bits per second from source to target; unlimited without.",
    )
    back_rate_bps: float | None = Field(
        default=None,
        gt=0,
        description="Bits per second from target to source; the same without.",
    )
    delay_s: float = Field(default=0.0, ge=0, description="Delay of one way.")


class LoadConfig(Section):
    """What the workload sends, and when."""

    scenario: Scenario = Field(
        default="single stream",
        description="Arrival pattern, in MLPerf's words; bursts is the thesis's.",
    )
    arrivals: ArrivalKind = Field(
        default="poisson", description="Arrival process (server)."
    )
    rate_hz: float = Field(
        default=10.0, gt=0, description="Requests a second (server)."
    )
    cv: float = Field(
        default=2.0, gt=0, description="Coefficient of variation of the gaps (gamma)."
    )
    file: Path | None = Field(
        default=None, description="Recorded arrivals, seconds (arrivals = file)."
    )
    n_samples: int = Field(
        default=8, ge=1, description="Images a query (multi stream)."
    )
    images_per_request: int = Field(
        default=1, ge=1, description="Images a request (bursts)."
    )
    requests_per_burst: int = Field(
        default=5, ge=1, description="Requests to one edge before the next (bursts)."
    )
    n_requests: int = Field(
        default=64, ge=1, description="Requests a cell, when no duration is given."
    )
    duration_s: float | None = Field(
        default=None, gt=0, description="Length of a cell, instead of a count."
    )
    timeout_s: float = Field(default=30.0, gt=0, description="Time a request may take.")
    percentile: float = Field(
        default=90.0,
        gt=0,
        lt=100,
        description="Highest percentile to be claimed; too few requests for it make "
        "the run invalid (p50 needs 11 over all blocks, p90 64, p99 662).",
    )
    latency_bound_s: float | None = Field(
        default=None, gt=0, description="Latency that is good enough; gives goodput."
    )
    max_error_rate: float = Field(
        default=0.0, ge=0, le=1, description="Share of failed requests that is borne."
    )
    warmup_window: int = Field(
        default=10, ge=2, description="Requests in a warm-up window; two must agree."
    )
    max_warmup: int = Field(
        default=200, ge=0, description="Requests after which warm-up gives up; 0: none."
    )

    @model_validator(mode="after")
    def _file_is_given(self) -> Self:
        if self.arrivals == "file" and self.file is None:
            message = "arrivals = file needs the key file"
            raise ValueError(message)
        return self


class CostConfig(Section):
    """Coefficients of the cost and energy models."""

    edge_usd_per_hour: float = Field(
        default=0.0, ge=0, description="Price of an edge node."
    )
    cloud_usd_per_hour: float = Field(
        default=0.126, ge=0, description="Price of a cloud node (2 vCPU, 16 GiB)."
    )
    usd_per_gb: float = Field(
        default=0.09, ge=0, description="Price of a gigabyte between edge and cloud."
    )
    joule_per_cpu_s: float = Field(
        default=10.0, ge=0, description="Energy of a CPU second."
    )
    joule_per_byte: float = Field(
        default=2e-7, ge=0, description="Energy of a byte over a link."
    )


class JudgeConfig(Section):
    """How answers are judged."""

    threshold: float = Field(
        default=0.5, ge=0, le=1, description="Score from which a detection counts."
    )
    n_resamples: int = Field(
        default=1000, ge=100, description="Bootstrap resamples behind each interval."
    )
    max_detections: int = Field(
        default=100,
        ge=1,
        description="Detections per image and class that count, best first; raise it "
        "for scenes with more objects.",
    )
    iou: tuple[Iou, ...] = Field(
        default=(0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        min_length=1,
        description="IoU thresholds that ap is the mean over.",
    )
    match_iou: Iou = Field(
        default=0.5,
        description="IoU from which a detection is right for precision, recall and F1.",
    )
    area_limits_px: tuple[Area, Area] = Field(
        default=(1024.0, 9216.0),
        description="Areas that part small boxes from medium ones, and medium from "
        "large ones.",
    )

    @model_validator(mode="after")
    def _areas_rise(self) -> Self:
        if self.area_limits_px[0] > self.area_limits_px[1]:
            message = f"area_limits_px must rise, found {self.area_limits_px}"
            raise ValueError(message)
        return self


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
