"""Config of the testbed's kinds: every key, its type, default and meaning.

The tables that they share come first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from midhaul.runs.config import Config, Section, setting
from midhaul.runs.section import key
from midhaul.runs.spec import Spec
from midhaul.testbed.nodes.settings import Forward, NodeSettings
from midhaul.vision.data.dataset import KINDS_OF_A_FILE, DatasetKind, OnBadItem
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

    kind: DatasetKind = setting("builtin", "Format of the data set.")
    images: Path | None = setting(
        None,
        "Folder of the images (all but builtin), or the data.yaml of Ultralytics "
        "(yolo).",
    )
    annotations: Path | None = setting(
        None,
        "File of COCO, CreateML, CVAT or a table, or folder of YOLO labels, LabelMe or "
        "VOC files; folders are found beside the images where none is given.",
    )
    names: tuple[str, ...] = setting(
        (), "Labels of a YOLO folder, in the order of their numbers; else those used."
    )
    select: Path | None = setting(
        None, "File with one image name a line, to use only those (yolo, voc)."
    )
    on_size_mismatch: Literal["error", "rescale"] = setting(
        "error",
        "What becomes of images that have the shape that their annotations say and "
        "another size: an error, or boxes are rescaled and counted (not yolo).",
    )
    on_bad_item: OnBadItem = setting(
        "error",
        "What becomes of images with a mistake in their file or labels: error ends "
        "the run and names them, skip leaves them out and counts them.",
    )
    voc_origin: Literal[0, 1] = setting(
        1,
        "Number of the first pixel of a row in VOC's files: 1 as the VOC devkit has "
        "it, 0 for tools that count from 0.",
    )
    n_images: int = setting(0, "Images to use, drawn with the seed; 0 for all.", ge=0)
    n_scenes: int = setting(64, "Scenes to generate (builtin only).", ge=1)

    @model_validator(mode="after")
    def _folders_are_given(self) -> Self:
        if self.kind != "builtin" and self.images is None:
            message = f"data of kind {self.kind} needs images"
            raise ValueError(message)
        if self.kind in KINDS_OF_A_FILE and self.annotations is None:
            message = f"data of kind {self.kind} needs annotations"
            raise ValueError(message)
        return self


class NodeConfig(Section):
    """One node: an HTTP server in a process of its own."""

    name: str = setting(..., "Unique name.", pattern=r"^[a-z][a-z0-9-]*$")
    role: Literal["edge", "cloud"] = setting(..., "Where it stands.")
    cloud: str | None = setting(None, "The cloud that an edge forwards to.")
    detector: Spec = setting(
        Spec(""),
        "What it runs, e.g. builtin:street-s or onnx:model.onnx; empty for nothing.",
    )
    gray: bool = setting(False, "Reduce images to one channel.")
    resize: Resize = setting(1.0, "Factor on width and height.")
    encode: Encode = setting("keep", "keep, jpeg:QUALITY or webp:QUALITY.")
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
    workdir: Path | None = setting(
        None, "Working directory; the run's folder by default."
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

    source: str = setting(..., "Sending node, or workload.")
    target: str = setting(..., "Receiving node.")
    rate_bps: float | None = setting(
        None, "Bits per second from source to target; unlimited without.", gt=0
    )
    back_rate_bps: float | None = setting(
        None, "Bits per second from target to source; the same without.", gt=0
    )
    delay_s: float = setting(0.0, "Delay of one way.", ge=0)


class LoadConfig(Section):
    """What the workload sends, and when."""

    scenario: Scenario = setting(
        "single stream", "Arrival pattern, in MLPerf's words; bursts is the thesis's."
    )
    arrivals: ArrivalKind = setting("poisson", "Arrival process (server).")
    rate_hz: float = setting(10.0, "Requests a second (server).", gt=0)
    cv: float = setting(2.0, "Coefficient of variation of the gaps (gamma).", gt=0)
    file: Path | None = setting(None, "Recorded arrivals, seconds (arrivals = file).")
    n_samples: int = setting(8, "Images a query (multi stream).", ge=1)
    images_per_request: int = setting(1, "Images a request (bursts).", ge=1)
    requests_per_burst: int = setting(
        5, "Requests to one edge before the next (bursts).", ge=1
    )
    n_requests: int = setting(64, "Requests a cell, when no duration is given.", ge=1)
    duration_s: float | None = setting(
        None, "Length of a cell, instead of a count.", gt=0
    )
    timeout_s: float = setting(30.0, "Time a request may take.", gt=0)
    percentile: float = setting(
        90.0,
        "Highest percentile to be claimed; too few requests for it make the run "
        "invalid (p50 needs 11 over all blocks, p90 64, p99 662).",
        gt=0,
        lt=100,
    )
    latency_bound_s: float | None = setting(
        None, "Latency that is good enough; gives goodput.", gt=0
    )
    max_error_rate: float = setting(
        0.0, "Share of failed requests that is borne.", ge=0, le=1
    )
    warmup_window: int = setting(
        10, "Requests in a warm-up window; two must agree.", ge=2
    )
    max_warmup: int = setting(
        200, "Requests after which warm-up gives up; 0: none.", ge=0
    )

    @model_validator(mode="after")
    def _file_is_given(self) -> Self:
        if self.arrivals == "file" and self.file is None:
            message = "arrivals = file needs the key file"
            raise ValueError(message)
        return self


class CostConfig(Section):
    """Coefficients of the cost and energy models."""

    edge_usd_per_hour: float = setting(0.0, "Price of an edge node.", ge=0)
    cloud_usd_per_hour: float = setting(
        0.126, "Price of a cloud node (2 vCPU, 16 GiB).", ge=0
    )
    usd_per_gb: float = setting(
        0.09, "Price of a gigabyte between edge and cloud.", ge=0
    )
    joule_per_cpu_s: float = setting(10.0, "Energy of a CPU second.", ge=0)
    joule_per_byte: float = setting(2e-7, "Energy of a byte over a link.", ge=0)


class JudgeConfig(Section):
    """How answers are judged."""

    threshold: float = setting(0.5, "Score from which a detection counts.", ge=0, le=1)
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
    )
    max_detections: int = setting(
        100,
        "Detections per image and class that count, best first; raise it for scenes "
        "with more objects.",
        ge=1,
    )
    iou: tuple[Iou, ...] = setting(
        (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
        "IoU thresholds that ap is the mean over.",
        min_length=1,
    )
    match_iou: Iou = setting(
        0.5, "IoU from which a detection is right for precision, recall and F1."
    )
    area_limits_px: tuple[Area, Area] = setting(
        (1024.0, 9216.0),
        "Areas that part small boxes from medium ones, and medium from large ones.",
    )

    @model_validator(mode="after")
    def _areas_rise(self) -> Self:
        if self.area_limits_px[0] > self.area_limits_px[1]:
            message = f"area_limits_px must rise, found {self.area_limits_px}"
            raise ValueError(message)
        return self


class AccuracyConfig(Config):
    """Detectors by preprocessing over a data set: accuracy and bytes, no nodes."""

    kind: str = setting("testbed.accuracy", "Kind of the experiment.")
    data: DataConfig = setting(DataConfig, "Images and their ground truth.")
    detectors: tuple[Spec, ...] = setting(
        (Spec("builtin:street-n"), Spec("builtin:street-s")),
        "Detectors to compare.",
        min_length=1,
    )
    encode: tuple[Encode, ...] = setting(
        ("keep",), "Encodings to compare.", min_length=1
    )
    resize: tuple[Resize, ...] = setting((1.0,), "Sizes to compare.", min_length=1)
    gray: tuple[bool, ...] = setting(
        (False,), "With colour, without, or both.", min_length=1
    )
    judge: JudgeConfig = setting(JudgeConfig, "How answers are judged.")
    jobs: int = setting(0, "Processes to use; 0 for one per core.", ge=0)


class TestbedConfig(Config):
    """What every experiment on running nodes shares."""

    __test__ = False  # the name is no test's

    data: DataConfig = setting(DataConfig, "Images and their ground truth.")
    nodes: tuple[NodeConfig, ...] = setting(
        (
            NodeConfig(name="cloud", role="cloud", detector=Spec("builtin:street-m")),
            NodeConfig(name="edge1", role="edge", cloud="cloud", forward="image"),
            NodeConfig(name="edge2", role="edge", cloud="cloud", forward="image"),
        ),
        "The nodes, at least one edge.",
        min_length=1,
    )
    links: tuple[LinkConfig, ...] = setting((), "The shaped links.")
    load: LoadConfig = setting(LoadConfig, "What the workload sends, and when.")
    n_blocks: int = setting(3, "Most blocks that are spent on latency.", ge=1)
    precision: str = setting(
        "5%",
        "From the third on, blocks end when half the interval of every median latency "
        "is below this share of it and load.percentile has its requests.",
        pattern=r"^[0-9]+(\.[0-9]+)?%$",
    )
    cost: CostConfig = setting(CostConfig, "Coefficients of the cost models.")
    judge: JudgeConfig = setting(JudgeConfig, "How answers are judged.")
    jobs: int = setting(0, "Processes that judge accuracy; 0 for all cores.", ge=0)

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

    kind: str = setting("testbed.measure", "Kind of the experiment.")
    grid: dict[str, tuple[GridValue, ...]] = setting(
        dict,
        "Settings to vary, all combinations: ROLE.KEY or NODE.KEY of a node, or "
        "load.KEY, each with its values.",
    )


class OverheadConfig(TestbedConfig):
    """What midhaul itself costs: the testbed with detectors that do nothing."""

    kind: str = setting("testbed.overhead", "Kind of the experiment.")
    nodes: tuple[NodeConfig, ...] = setting(
        (
            NodeConfig(name="cloud", role="cloud", detector=Spec("null")),
            NodeConfig(name="edge1", role="edge", cloud="cloud", detector=Spec("null")),
        ),
        "The nodes; every detector is replaced by null.",
        min_length=1,
    )
    n_blocks: int = setting(5, "Blocks to measure.", ge=1)
