"""The experiment file of federation.record, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from midhaul.federation.serving.config import AskedConfig
from midhaul.runs.config import Config, Section
from midhaul.runs.spec import Spec
from midhaul.vision.data.dataset import DatasetKind, OnBadItem


class RecordImagesConfig(Section):
    """The image set that is sent."""

    kind: DatasetKind = Field(default="builtin", description="Format of the data set.")
    images: Path | None = Field(
        default=None, description="Folder of the images (coco, yolo, voc)."
    )
    annotations: Path | None = Field(
        default=None,
        description="COCO's JSON file, or the folder of labels where it is not beside "
        "the images.",
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
        default=0, ge=0, description="Images to send, drawn with the seed; 0 for all."
    )
    n_scenes: int = Field(
        default=24, ge=1, description="Scenes to draw (builtin only)."
    )

    @model_validator(mode="after")
    def _folders_are_given(self) -> Self:
        if self.kind != "builtin" and self.images is None:
            message = f"data of kind {self.kind} need the key images"
            raise ValueError(message)
        if self.kind == "coco" and self.annotations is None:
            message = "data of kind coco need the key annotations"
            raise ValueError(message)
        return self


class ScheduleConfig(Section):
    """Which images are sent when."""

    n_slices: int = Field(
        default=1,
        ge=1,
        description="Parts that the image set is cut into; with 24 and every_s = 3600 "
        "each hour of the day sees its own images.",
    )
    every_s: float = Field(
        default=0.0, ge=0, description="Time from the begin of a slice to the next."
    )
    n_passes: int = Field(
        default=1, ge=1, description="How often the whole image set is sent."
    )


class SniffConfig(Section):
    """Packets captured meanwhile, with tcpdump."""

    is_on: bool = Field(default=False, description="Whether to capture.")
    device: str = Field(default="any", description="Network device.")
    filter: str = Field(
        default="tcp port 443 or port 53", description="What to capture, as pcap says."
    )
    snaplen_bytes: int = Field(
        default=256,
        ge=0,
        description="Bytes kept of each packet; 0 for all, which federation.latency "
        "needs only with a key log.",
    )
    rotate_s: int = Field(default=3600, ge=1, description="Time until a new file.")
    region_pair: str = Field(
        default="",
        pattern=r"^([a-z]{2,4}2[a-z]{2,4})?$",
        description="Where this machine and the providers stand, such as us2sg.",
    )
    user: str = Field(
        default="",
        description="User that tcpdump becomes when started by root; by default the "
        "owner of the run's folder.",
    )


_BUILTIN = (
    AskedConfig(spec=Spec("local:builtin:street-n"), name="street-n", price_usd=0.0),
    AskedConfig(spec=Spec("local:builtin:street-s"), name="street-s", price_usd=0.0),
)


class RecordConfig(Config):
    """Send an image set to live providers on a schedule and keep what they answer."""

    kind: str = Field(
        default="federation.record", description="Kind of the experiment."
    )
    data: RecordImagesConfig = Field(
        default_factory=RecordImagesConfig, description="The image set that is sent."
    )
    providers: tuple[AskedConfig, ...] = Field(
        default=_BUILTIN, min_length=1, description="Who is asked about each image."
    )
    schedule: ScheduleConfig = Field(
        default_factory=ScheduleConfig, description="Which images are sent when."
    )
    budget_usd: float = Field(
        default=0.0,
        ge=0,
        description="What the run may spend, over all restarts; it does not begin when "
        "it is expected to cost more.",
    )
    stops_at_budget: bool = Field(
        default=False,
        description="Begin nevertheless, and send nothing more when it is spent.",
    )
    is_dry_run: bool = Field(
        default=False, description="Say what it would cost and ask nobody."
    )
    ledger: Path | None = Field(
        default=None,
        description="Ledger that counts the calls of the month for all runs; one in "
        "the run's folder by default.",
    )
    ask_again: Literal["never", "unfinished", "failed"] = Field(
        default="never",
        description="What a resumed run asks a second time: nothing; calls that a kill "
        "cut off; these and calls that failed. Each is paid again.",
    )
    capture: SniffConfig = Field(
        default_factory=SniffConfig, description="Packets captured meanwhile."
    )
    n_resamples: int = Field(
        default=1000, ge=100, description="Bootstrap resamples behind each interval."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [provider.name for provider in self.providers]
        if len(set(names)) < len(names):
            message = f"names of providers must be unique, found {names}"
            raise ValueError(message)
        return self
