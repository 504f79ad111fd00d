"""The experiment file of federation.record, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.federation.serving.config import AskedConfig
from midhaul.runs.config import Config, Section, setting
from midhaul.runs.spec import Spec
from midhaul.vision.data.dataset import KINDS_OF_A_FILE, DatasetKind, OnBadItem


class RecordImagesConfig(Section):
    """The image set that is sent."""

    kind: DatasetKind = setting("builtin", "Format of the data set.")
    images: Path | None = setting(None, "Folder of the images (all but builtin).")
    annotations: Path | None = setting(
        None,
        "File of COCO, CreateML, CVAT or a table, or the folder of labels where it is "
        "not beside the images.",
    )
    on_size_mismatch: Literal["error", "rescale"] = setting(
        "error",
        "What becomes of images that have the shape that their annotations "
        "say and another size: an error, or boxes are rescaled and counted (not yolo).",
    )
    on_bad_item: OnBadItem = setting(
        "error",
        "What becomes of images with a mistake in their file or labels: "
        "error ends the run and names them, skip leaves them out and counts them.",
    )
    voc_origin: Literal[0, 1] = setting(
        1,
        "Number of the first pixel of a row in VOC's files: 1 as the VOC "
        "devkit has it, 0 for tools that count from 0.",
    )
    n_images: int = setting(0, "Images to send, drawn with the seed; 0 for all.", ge=0)
    n_scenes: int = setting(24, "Scenes to draw (builtin only).", ge=1)

    @model_validator(mode="after")
    def _folders_are_given(self) -> Self:
        if self.kind != "builtin" and self.images is None:
            message = f"data of kind {self.kind} need the key images"
            raise ValueError(message)
        if self.kind in KINDS_OF_A_FILE and self.annotations is None:
            message = f"data of kind {self.kind} need the key annotations"
            raise ValueError(message)
        return self


class ScheduleConfig(Section):
    """Which images are sent when."""

    n_slices: int = setting(
        1,
        "Parts that the image set is cut into; with 24 and every_s = 3600 "
        "each hour of the day sees its own images.",
        ge=1,
    )
    every_s: float = setting(0.0, "Time from the begin of a slice to the next.", ge=0)
    n_passes: int = setting(1, "How often the whole image set is sent.", ge=1)


class SniffConfig(Section):
    """Packets captured meanwhile, with tcpdump."""

    is_on: bool = setting(False, "Whether to capture.")
    device: str = setting("any", "Network device.")
    filter: str = setting("tcp port 443 or port 53", "What to capture, as pcap says.")
    snaplen_bytes: int = setting(
        256,
        "Bytes kept of each packet; 0 for all, which federation.latency "
        "needs only with a key log.",
        ge=0,
    )
    rotate_s: int = setting(3600, "Time until a new file.", ge=1)
    region_pair: str = setting(
        "",
        "Where this machine and the providers stand, such as us2sg.",
        pattern=r"^([a-z]{2,4}2[a-z]{2,4})?$",
    )
    user: str = setting(
        "",
        "User that tcpdump becomes when started by root; by default the "
        "owner of the run's folder.",
    )


_BUILTIN = (
    AskedConfig(spec=Spec("local:builtin:street-n"), name="street-n", price_usd=0.0),
    AskedConfig(spec=Spec("local:builtin:street-s"), name="street-s", price_usd=0.0),
)


class RecordConfig(Config):
    """Send an image set to live providers on a schedule and keep what they answer."""

    kind: str = setting("federation.record", "Kind of the experiment.")
    data: RecordImagesConfig = setting(
        RecordImagesConfig, "The image set that is sent."
    )
    providers: tuple[AskedConfig, ...] = setting(
        _BUILTIN, "Who is asked about each image.", min_length=1
    )
    schedule: ScheduleConfig = setting(ScheduleConfig, "Which images are sent when.")
    budget_usd: float = setting(
        0.0,
        "What the run may spend, over all restarts; it does not begin when "
        "it is expected to cost more.",
        ge=0,
    )
    stops_at_budget: bool = setting(
        False, "Begin nevertheless, and send nothing more when it is spent."
    )
    is_dry_run: bool = setting(False, "Say what it would cost and ask nobody.")
    ledger: Path | None = setting(
        None,
        "Ledger that counts the calls of the month for all runs; one in "
        "the run's folder by default.",
    )
    ask_again: Literal["never", "unfinished", "failed"] = setting(
        "never",
        "What a resumed run asks a second time: nothing; calls that a kill "
        "cut off; these and calls that failed. Each is paid again.",
    )
    capture: SniffConfig = setting(SniffConfig, "Packets captured meanwhile.")
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [provider.name for provider in self.providers]
        if len(set(names)) < len(names):
            message = f"names of providers must be unique, found {names}"
            raise ValueError(message)
        return self
