"""Tables of the testbed's kinds, and images and detections as rows and back.

A run keeps the ground truth beside the answers, so that it can be judged, compared and
reported where the data set is not at hand. None of it ever reaches a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midhaul.errors import StoreError
from midhaul.model import Detections, GroundTruth
from midhaul.runs.summary import CONFIGURATION, SUMMARY
from midhaul.runs.tables import BOOL, FLOAT, INT, INT32, STRING, Column, Table
from midhaul.vision.data.dataset import Dataset
from midhaul.vision.judge.matching import as_double

if TYPE_CHECKING:
    from collections.abc import Mapping

_BLOCK = Column("block", INT32, "Number of the randomised block, from 0.")

CONFIGURATIONS = Table(
    "configurations",
    "One combination of the grid: what a block measures once.",
    (
        CONFIGURATION,
        Column("name", STRING, "Its short name, unique in the run."),
        Column("detector", STRING, "Detector whose answer counts, short name."),
        Column("edge_detector", STRING, "Detector on the edges; null for none."),
        Column("cloud_detector", STRING, "Detector in the cloud; null for none."),
        Column("preprocessing", STRING, "The preprocessing in words."),
        Column("encode", STRING, "keep, jpeg:QUALITY or webp:QUALITY."),
        Column("quality", INT32, "Quality of the codec; null where kept."),
        Column("resize", FLOAT, "Factor on width and height."),
        Column("gray", BOOL, "True where the image is reduced to one channel."),
        Column("forward", STRING, "What an edge forwards to its cloud."),
        Column("settings", STRING, "All varied settings, as JSON."),
    ),
)

REQUESTS = Table(
    "requests",
    "One request of the workload, whatever became of it.",
    (
        CONFIGURATION,
        _BLOCK,
        Column("request", INT, "Number of the request in its cell, from 0."),
        Column("is_warmup", BOOL, "True before the cell was steady; not judged."),
        Column("node", STRING, "Name of the node that was asked."),
        Column("images", pa.list_(STRING), "Ids of the images sent."),
        Column("status", STRING, "ok, timeout, refused, broken or http-CODE."),
        Column("error", STRING, "What the node or the client said; null when ok."),
        Column("answered_by", STRING, "Node whose detections are the answer."),
        Column("planned_ns", INT, "Planned send, since the cell began."),
        Column("sent_ns", INT, "Actual send, since the cell began."),
        Column("done_ns", INT, "Answer decoded, since the cell began."),
        Column("latency_ns", INT, "done - planned: what a user of the system waits."),
        Column("service_ns", INT, "done - sent."),
        Column("queue_ns", INT, "Wait in the edge before work began."),
        Column("decode_ns", INT, "Decoding at the edge."),
        Column("preprocess_ns", INT, "Gray and resize at the edge."),
        Column("encode_ns", INT, "Encoding at the edge."),
        Column(
            "inference_ns",
            INT,
            "Detector at the edge, its own pre- and post-processing included.",
        ),
        Column("forward_ns", INT, "Edge waits for its cloud, network included."),
        Column("cloud_queue_ns", INT, "Wait in the cloud before work began."),
        Column("cloud_decode_ns", INT, "Decoding in the cloud."),
        Column("cloud_inference_ns", INT, "Detector in the cloud."),
        Column(
            "node_ns",
            INT,
            "All the time between body read and answer written, "
            "by the edge's own clock.",
        ),
        Column(
            "network_ns",
            INT,
            "service - node: what remains for client, link and "
            "HTTP between workload and edge.",
        ),
        Column(
            "backhaul_ns",
            INT,
            "forward - cloud: what remains for link and HTTP between edge and cloud.",
        ),
        Column("access_up_bytes", INT, "Body sent by the workload."),
        Column("access_down_bytes", INT, "Body of the answer to the workload."),
        Column("backhaul_up_bytes", INT, "Body sent by the edge to its cloud."),
        Column("backhaul_down_bytes", INT, "Body of the cloud's answer."),
    ),
)

IMAGES = Table(
    "images",
    "One image of the data set with its ground truth, which stays with the collector.",
    (
        Column("image", STRING, "Id of the image."),
        Column(
            "fold",
            INT32,
            "Half of the data set, 0 or 1: an image is judged at the threshold that "
            "serves the other half best.",
        ),
        Column("width_px", INT32, "Width as stored."),
        Column("height_px", INT32, "Height as stored."),
        Column("file_bytes", INT, "Size of its file."),
        Column("boxes", pa.list_(FLOAT), "x1 y1 x2 y2 per box, px, flat."),
        Column("labels", pa.list_(STRING), "Label per box."),
        Column(
            "is_crowd",
            pa.list_(BOOL),
            "True where a box marks a group that is not judged.",
        ),
        Column(
            "areas_px",
            pa.list_(FLOAT),
            "Area per box that decides small, medium or large.",
        ),
    ),
)

DETECTIONS = Table(
    "detections",
    "The answer for one image under one configuration, with its boxes.",
    (
        CONFIGURATION,
        Column("image", STRING, "Id of the image."),
        Column("answered_by", STRING, "Role of the node whose boxes these are."),
        Column("forwarded", BOOL, "True where the edge sent the image on."),
        Column("received_bytes", INT, "Bytes of the image as received."),
        Column("prepared_bytes", INT, "Bytes of the image after preprocessing."),
        Column(
            "boxes",
            pa.list_(FLOAT),
            "x1 y1 x2 y2 per box, px of the received image, flat.",
        ),
        Column("scores", pa.list_(FLOAT), "Score per box."),
        Column("labels", pa.list_(STRING), "Label per box."),
    ),
)

USAGE = Table(
    "usage",
    "One node over one monitor period.",
    (
        CONFIGURATION,
        _BLOCK,
        Column("node", STRING, "Name of the node, or workload."),
        Column("begin_ns", INT, "Begin of the period, since the cell began."),
        Column("period_ns", INT, "Length of the period."),
        Column("cpu_s", FLOAT, "CPU seconds of the process tree in the period."),
        Column("rss_bytes", INT, "Resident memory of the process tree at its end."),
        Column(
            "sent_bytes",
            INT,
            "Bytes that left through the node's links; null where no link is shaped.",
        ),
        Column("received_bytes", INT, "Bytes that came in through its links."),
        Column(
            "cpu_pressure",
            FLOAT,
            "Share of the period in which some task of the "
            "machine waited for a CPU (PSI).",
        ),
        Column("steal", FLOAT, "Share of the machine's CPU time that the host took."),
        Column("throttled_s", FLOAT, "Time for which a CPU limit held the node back."),
    ),
)

LINKS = Table(
    "links",
    "One link measured by itself before a block.",
    (
        _BLOCK,
        Column("link", STRING, "source->target."),
        Column("rate_bps", FLOAT, "Rate asked for; null when unlimited."),
        Column("measured_rate_bps", FLOAT, "Rate found."),
        Column("delay_s", FLOAT, "Delay asked for."),
        Column("measured_delay_s", FLOAT, "Delay found."),
        Column("error", FLOAT, "Largest relative error of the two."),
    ),
)

CELLS = Table(
    "cells",
    "One configuration in one block; written last, so its other rows are complete.",
    (
        CONFIGURATION,
        _BLOCK,
        Column("position", INT32, "Place of the cell in its block, from 0."),
        Column("n_requests", INT, "Requests judged."),
        Column("n_warmup", INT, "Requests before the cell was steady."),
        Column("n_errors", INT, "Judged requests that were not ok."),
        Column("duration_s", FLOAT, "From the first planned send to the last answer."),
        Column("planned_rate_hz", FLOAT, "Rate asked for; null for closed loops."),
        Column("achieved_rate_hz", FLOAT, "Requests sent per second."),
        Column("late_p99_s", FLOAT, "99th percentile of sent - planned."),
        Column("is_valid", BOOL, "True when nothing speaks against the cell."),
        Column("reasons", pa.list_(STRING), "Why it is not valid."),
        Column("advice", pa.list_(STRING), "What to change, per reason."),
    ),
)

CLASSES = Table(
    "classes",
    "One class of the data set under one configuration.",
    (
        CONFIGURATION,
        Column("label", STRING, "Name of the class."),
        Column("support", INT, "Ground-truth boxes of the class."),
        Column("ap", FLOAT, "AP at IoU 0.50:0.95; null without support."),
        Column("ap50", FLOAT, "AP at IoU 0.50."),
        Column("threshold", FLOAT, "Score from which a detection counts below."),
        Column("precision", FLOAT, "Precision at IoU 0.5."),
        Column("recall", FLOAT, "Recall at IoU 0.5."),
        Column("f1", FLOAT, "F1 at IoU 0.5."),
        Column(
            "f1_calibrated",
            FLOAT,
            "F1 at the threshold chosen for this detector on other images.",
        ),
    ),
)

TABLES = (
    CONFIGURATIONS,
    IMAGES,
    REQUESTS,
    DETECTIONS,
    USAGE,
    LINKS,
    CELLS,
    SUMMARY,
    CLASSES,
)


def image_rows(dataset: Dataset, seed: int) -> list[dict[str, object]]:
    """Rows of the table ``images``; the seed and an image's id decide its half."""
    half, _ = dataset.split(0.5, np.random.default_rng([seed, 2]))
    first = set(half.image_ids)
    rows: list[dict[str, object]] = []
    for image in dataset.image_ids:
        truth = dataset.truth[image]
        width, height = dataset.size(image)
        rows.append(
            {
                "image": image,
                "fold": 0 if image in first else 1,
                "width_px": width,
                "height_px": height,
                "file_bytes": len(dataset.read(image)),
                "boxes": as_double(truth.boxes).ravel(),
                "labels": [truth.names[label] for label in truth.labels],
                "is_crowd": truth.is_crowd,
                "areas_px": as_double(truth.areas_px),
            }
        )
    return rows


def stored_dataset(images: pa.Table, name: str, names: tuple[str, ...]) -> Dataset:
    """The data set that a run kept, without its pictures."""
    rows: list[dict[str, Any]] = images.to_pylist()
    numbers = {label: number for number, label in enumerate(names)}
    return Dataset(
        name=name,
        names=names,
        image_ids=tuple(row["image"] for row in rows),
        truth={row["image"]: _truth(row, numbers, names) for row in rows},
        sizes={row["image"]: (row["width_px"], row["height_px"]) for row in rows},
        source=_no_picture,
    )


def folds(images: pa.Table) -> dict[str, int]:
    """The half into which each image falls."""
    rows: list[dict[str, Any]] = images.select(["image", "fold"]).to_pylist()
    return {row["image"]: row["fold"] for row in rows}


def stored_detections(detections: pa.Table) -> dict[str, Detections]:
    """Answers by image."""
    columns = ["image", "boxes", "scores", "labels"]
    rows: list[dict[str, Any]] = detections.select(columns).to_pylist()
    names = tuple(sorted({label for row in rows for label in row["labels"]}))
    numbers = {label: number for number, label in enumerate(names)}
    return {
        row["image"]: Detections(
            boxes=np.array(row["boxes"], np.float64).reshape(-1, 4),
            scores=np.array(row["scores"], np.float64),
            labels=np.array([numbers[label] for label in row["labels"]], np.int32),
            names=names,
        )
        for row in rows
    }


def _truth(
    row: Mapping[str, Any], numbers: Mapping[str, int], names: tuple[str, ...]
) -> GroundTruth:
    return GroundTruth(
        boxes=np.array(row["boxes"], np.float64).reshape(-1, 4),
        labels=np.array([numbers[label] for label in row["labels"]], np.int32),
        is_crowd=np.array(row["is_crowd"], bool),
        areas_px=np.array(row["areas_px"], np.float64),
        names=names,
    )


def _no_picture(image: str) -> bytes:
    message = f"a run keeps no pictures, so image {image} cannot be read from it"
    raise StoreError(message, "open the data set itself")
